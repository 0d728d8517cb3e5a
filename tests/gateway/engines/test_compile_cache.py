"""The folder of compiled blobs: what is damaged is not read, what cannot be written is no error."""

import logging
import os
import time
from pathlib import Path

import pytest

from gateway.engines.compile_cache import DIGEST_BYTES, CompileCache


def test_reads_what_it_wrote(tmp_path: Path) -> None:
    CompileCache(tmp_path, ("1.0",)).write("a+b/c", b"blob")
    assert CompileCache(tmp_path, ("1.0",)).read("a+b/c") == b"blob"


def test_what_was_made_for_something_else_is_not_read(tmp_path: Path) -> None:
    CompileCache(tmp_path, ("1.0", "f32")).write("a", b"blob")
    assert CompileCache(tmp_path, ("1.0", "bf16")).read("a") is None


@pytest.mark.parametrize("kept", [0, -1])
@pytest.mark.parametrize("end", [b"", b"x"])
def test_a_damaged_blob_is_missing(tmp_path: Path, kept: int, end: bytes) -> None:
    cache = CompileCache(tmp_path, ())
    cache.write("a", b"blob")
    (file,) = tmp_path.rglob("*.blob")
    file.write_bytes(file.read_bytes()[:kept] + end)
    assert cache.read("a") is None


def test_a_folder_that_cannot_be_written_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    cache = CompileCache(tmp_path / "file", ())
    with caplog.at_level(logging.WARNING):
        assert not cache.write("a", b"blob")
        assert not cache.write("b", b"blob")
        assert cache.read("a") is None
    assert len(caplog.records) == 1


def test_a_file_to_map_is_the_blob_behind_its_digest(tmp_path: Path) -> None:
    cache = CompileCache(tmp_path, ())
    assert cache.file("a") is None
    cache.write("a", b"blob")
    found = cache.file("a")
    assert found is not None
    assert found.read_bytes()[DIGEST_BYTES:] == b"blob"
    found.write_bytes(found.read_bytes()[:-1])
    assert cache.file("a") is None


def test_what_killed_processes_left_on_its_way_goes(tmp_path: Path) -> None:
    cache = CompileCache(tmp_path, ())
    cache.write("a", b"blob")
    with cache.scratch() as folder:
        (folder / "model").write_bytes(b"")
        (folder.parent / ".b.blob.1.part").write_bytes(b"")
        with cache.scratch():
            assert folder.exists(), "expected what is new to stay"
        for left in (folder, folder.parent / ".b.blob.1.part"):
            os.utime(left, (time.time() - 7200,) * 2)
        with cache.scratch() as other:
            assert [path for path in other.parent.iterdir() if path != other] == [cache.path("a")]
