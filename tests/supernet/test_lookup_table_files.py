"""Lookup tables on disk: what is written is read back, and odd files are one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from supernet.latency import Blocks, BlockTime
from supernet.lookup_table_files import find_lookup_tables, read_lookup_table, write_lookup_tables

NOTE10 = Path(__file__).parents[3] / "shared/data/note10"
MS = st.floats(0, 1e9)
TIMES = st.builds(BlockTime, mean=MS, std=st.none() | MS, count=st.none() | st.integers(0, 10**9))
KEYS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), min_size=1)
NAME = "160_lookup_table.yaml"


@given(
    blocks=st.dictionaries(
        st.integers(1, 9999), st.dictionaries(KEYS, TIMES, min_size=1, max_size=5), max_size=3
    )
)
@settings(max_examples=50)
def test_there_and_back(blocks: Blocks, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("tables")
    for name, data in write_lookup_tables(blocks).items():
        (folder / name).write_bytes(data)
    files = find_lookup_tables(folder) if blocks else {}
    assert {r: read_lookup_table(path) for r, path in files.items()} == blocks


@pytest.mark.skipif(not NOTE10.exists(), reason="needs ../shared/data beside the repository")
def test_the_published_files_are_written_as_they_were() -> None:
    files = find_lookup_tables(NOTE10)
    assert sorted(files) == [160, 176, 192, 208, 224]
    blocks = {resolution: read_lookup_table(path) for resolution, path in files.items()}
    for name, data in write_lookup_tables(blocks).items():
        assert data == (NOTE10 / name).read_bytes()
    published = yaml.safe_load(files[208].read_bytes())
    assert {key: time.model_dump() for key, time in blocks[208].items()} == published


@pytest.mark.parametrize(
    ("content", "time"),
    [
        ("a: {mean: 1.5}", BlockTime(mean=1.5)),
        ('{"a": {"mean": 2, "std": 0.5, "count": 3}}', BlockTime(mean=2, std=0.5, count=3)),
        ("a:\n  mean: 1e-3\n", BlockTime(mean=0.001)),  # a string to YAML 1.1, a number to 1.2
        ("a:\n  count: 0\n  mean: 0\n", BlockTime(mean=0, count=0)),
        ("a: {mean: 1, median: 2, unit: ms}", BlockTime(mean=1)),
    ],
)
def test_forms_that_are_read(tmp_path: Path, content: str, time: BlockTime) -> None:
    (tmp_path / NAME).write_text(content)
    assert read_lookup_table(tmp_path / NAME) == {"a": time}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: expected one mapping a key, with count, mean and std"),
        (b"\n\nhello\n", "line 3: expected one mapping a key"),
        (b"- a\n", "line 1: expected one mapping a key"),
        (b"{}", "expected one mapping a key, with count, mean and std, found none"),
        (b"a: 1\n", "line 1: expected one mapping a key"),
        (b"a: {mean: 1}\nb:\n", "line 2: expected one mapping a key"),
        (b"a:\n  mean: [1]\n", "line 2: expected one mapping a key"),
        (b"a: {mean: 1}\n---\nb: {mean: 1}\n", "line 2: expected one mapping a key"),
        (b"a: &x {mean: 1}\nb: *x\n", "line 2: expected one mapping a key"),
        (b"[" * 100_000, "line 1: expected one mapping a key"),
        (b"a:\n  " + b"? " * 1000, "line 2: expected one mapping a key"),
        (b"a: {mean: 1}\na: {mean: 2}\n", "line 2: 'a' is there twice"),
        (b"a:\n  mean: 1\n  mean: 2\n", "line 3: 'mean' is there twice"),
        (b"a:\n  count: 1\n", "mean: Field required"),
        (b"a:\n  mean: -1\n", "mean: Input should be greater than or equal to 0, got '-1'"),
        (b"a:\n  mean: .nan\n", "mean: Input should be a valid number"),
        (b"a:\n  mean: nan\n", "mean: Input should be a finite number, got 'nan'"),
        (b"a:\n  mean: 1e999\n", "mean: Input should be a finite number"),
        (b"a:\n  mean: true\n", "mean: Input should be a valid number"),
        (b"a:\n  mean: !!int fast\n", "mean: Input should be a valid number"),
        (b"a: {mean: 1, std: -2}\n", "std: Input should be greater than or equal to 0"),
        (b"a: {mean: 1, count: 2.5}\n", "count: Input should be a valid integer"),
        (b"a: {median: 2}\n", "mean: Field required"),
        (b"a: {mean: 1}\nb: c: d\n", "line 2: "),
        (b"a: 'x\n", "this is not YAML"),
        (b"\xff\xfe\x00", "this is not YAML"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "this is not YAML"),
    ],
)
def test_odd_files_are_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / NAME
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read_lookup_table(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_only_files_with_a_resolution_are_taken(tmp_path: Path) -> None:
    for name in ("README.md", "160_lookup_table.yaml", "24.yml", "192_lookup_table.yaml.bak"):
        (tmp_path / name).write_text("")
    assert find_lookup_tables(tmp_path) == {160: tmp_path / NAME, 24: tmp_path / "24.yml"}


@pytest.mark.parametrize(
    "name", ["lookup_table.yaml", "0_lookup_table.yaml", "99999.yaml", "r.yml"]
)
def test_a_file_without_a_resolution_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / NAME).write_text("")
    (tmp_path / name).write_text("")
    with pytest.raises(ValueError, match=f"{name}: expected a resolution first, as in {NAME}"):
        find_lookup_tables(tmp_path)


def test_two_files_for_one_resolution(tmp_path: Path) -> None:
    for name in (NAME, "160_lookup_table (copy).yaml"):
        (tmp_path / name).write_text("")
    with pytest.raises(ValueError, match=r"there is 160_lookup_table \(copy\).yaml for resolution"):
        find_lookup_tables(tmp_path)


def test_no_folder_and_none_with_tables(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"No such file or directory: expected one with files"):
        find_lookup_tables(tmp_path / "nothing")
    (tmp_path / "file.yaml").write_text("")
    with pytest.raises(ValueError, match=r"file.yaml: is not a folder: expected one with files"):
        find_lookup_tables(tmp_path / "file.yaml")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty: expected files like 160_lookup_table.yaml"):
        find_lookup_tables(tmp_path / "empty")


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Is a directory$"):
        read_lookup_table(tmp_path)
