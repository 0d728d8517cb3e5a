"""A folder of exports: whole or not there, within its bound, and never taken from a reader."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from gateway.exports.cache import ExportCache
from gateway.exports.entry import Export, write_entry
from gateway.exports.key import ExportKey
from tests.full_disk import files_at_most

SIZE = 10_000


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def key(number: int) -> ExportKey:
    return ExportKey("0" * 32, f"d2-2@{number}", "torch", "1.0")


@pytest.fixture
def cache(tmp_path: Path) -> ExportCache:
    return ExportCache(tmp_path, 3 * SIZE)


def data(number: int) -> bytes:
    return bytes([number]) * (SIZE - 1000)


def put(cache: ExportCache, tmp_path: Path, number: int, *parts: bytes) -> Export:
    files = []
    for index, part in enumerate(parts or (data(number),)):
        files.append(tmp_path / f"net.{index}")
        files[-1].write_bytes(part)
    entry = tmp_path / "entry"
    write_entry(f"d2-2@{number}", "torch", files, entry)
    for file in files:
        file.unlink()
    return cache.put(key(number), entry)


def fill(cache: ExportCache, tmp_path: Path, *numbers: int) -> None:
    for number in numbers:
        put(cache, tmp_path, number).close()


def there(cache: ExportCache, *numbers: int) -> list[int]:
    """Which of these the cache has; asking counts as asking."""
    found = []
    for number in numbers:
        export = cache.open(key(number))
        if export is not None:
            export.close()
            found.append(number)
    return found


def test_what_is_put_is_read_as_it_was(cache: ExportCache, tmp_path: Path) -> None:
    put(cache, tmp_path, 1, b"first", b"", b"third file").close()
    export = cache.open(key(1))
    assert export is not None
    record = export.record
    assert [(file.name, file.size) for file in record.files] == [
        ("net.0", 5), ("net.1", 0), ("net.2", 10)
    ]  # fmt: skip
    assert record.sha256 == hashlib.sha256(b"firstthird file").hexdigest()
    assert (export.read(0, 100), export.read(3, 4), export.read(15, 1)) == (
        b"firstthird file", b"stth", b""
    )  # fmt: skip
    again = export.again()
    export.close()
    assert again.read(5, 5) == b"third"
    again.close()
    assert cache.open(key(2)) is None


def test_what_was_not_asked_for_longest_goes_first(cache: ExportCache, tmp_path: Path) -> None:
    fill(cache, tmp_path, 1, 2, 3)
    assert there(cache, 1) == [1]
    fill(cache, tmp_path, 4)
    cache.trim()
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".export"] * 3
    assert cache.size_bytes() <= 3 * SIZE
    assert there(cache, 1, 2, 3, 4) == [1, 3, 4]


def test_what_is_read_stays_also_for_another_gateway(cache: ExportCache, tmp_path: Path) -> None:
    fill(cache, tmp_path, 1, 2, 3)
    small = ExportCache(tmp_path, 1)
    reading = cache.open(key(2))
    assert reading is not None
    small.trim()
    assert there(cache, 1, 2, 3) == [2]
    assert reading.read(0, SIZE) == data(2)
    reading.close()
    small.trim()
    assert there(cache, 2) == []
    assert cache.size_bytes() == 0


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("damage", ["flipped", "cut", "longer", "no record", "empty", "zeros"])
def test_a_damaged_file_is_not_there(
    cache: ExportCache, tmp_path: Path, damage: str, again: bool
) -> None:
    fill(cache, tmp_path, 1)
    if again:  # this process knows it
        assert there(cache, 1) == [1]
    else:
        cache = ExportCache(tmp_path, SIZE)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(
        {
            "flipped": whole[:5000] + b"x" + whole[5001:],
            "cut": whole[:-1],
            "longer": whole + b"x",
            "no record": b"{}\n" + whole,
            "empty": b"",
            "zeros": bytes(len(whole)),
        }[damage]
    )
    assert there(cache, 1) == []
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_read_through_once(
    cache: ExportCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(cache, tmp_path, 1)
    fresh, read, check = ExportCache(tmp_path, SIZE), list[int](), Export.check

    def counted(export: Export) -> None:
        read.append(export.record.size)
        check(export)

    monkeypatch.setattr(Export, "check", counted)
    assert there(fresh, 1, 1, 1) == [1, 1, 1]
    assert there(cache, 1) == [1], "it has written it"
    assert len(read) == 1


def test_a_full_disk_puts_nothing(tmp_path: Path) -> None:
    file = tmp_path / "net"
    file.write_bytes(data(1))
    with files_at_most(1000), pytest.raises(OSError, match="too large"):
        write_entry("d2-2@1", "torch", [file], tmp_path / "entry")


def test_no_descriptor_is_left_open(cache: ExportCache, tmp_path: Path) -> None:
    before = open_files()
    fill(cache, tmp_path, 1, 2, 3, 4)
    there(cache, 1, 2, 3, 4, 5)
    cache.trim()
    for path in tmp_path.iterdir():
        path.write_bytes(b"no record")
    there(cache, 1, 2, 3, 4)
    assert open_files() == before


def test_the_start_clears_what_was_killed_and_not_what_is_under_way(
    cache: ExportCache, tmp_path: Path
) -> None:
    import fcntl

    killed, under_way = cache.workplace(key(1)), cache.workplace(key(2))
    for folder in (killed, under_way):
        folder.mkdir()
        (folder / "half").touch()
    lock = os.open(under_way, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    fill(cache, tmp_path, 1, 2, 3, 4)
    cache.clean()
    os.close(lock)
    assert not killed.exists()
    assert [path.name for path in under_way.iterdir()] == ["half"]
    assert cache.size_bytes() <= 3 * SIZE


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    cache = ExportCache(tmp_path / "none", SIZE)
    cache.clean()
    assert (cache.size_bytes(), cache.open(key(1))) == (0, None)
