"""A file is replaced whole, and a failed write leaves nothing behind."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from supernet import durable
from supernet.durable import put_in_place, write_file, write_folder


def test_replaces_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    write_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"old")
    link.symlink_to("real")
    write_file(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    (tmp_path / "folder").mkdir()
    (tmp_path / "way").symlink_to("folder")
    write_folder(tmp_path / "way", {"file": b"new"})
    assert (tmp_path / "way").is_symlink()
    assert (tmp_path / "folder" / "file").read_bytes() == b"new"


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_file(pipe, b"new")
        assert os.read(reader, 10) == b"new"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    # What is written to is a link to a device that is always full.
    (tmp_path / f".file.{os.getpid()}.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        write_file(path, b"new")
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("can_swap", [True, False])
def test_a_folder_takes_the_place_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_swap: bool
) -> None:
    if not can_swap:
        monkeypatch.setattr(durable, "_exchange", lambda *_: False)
    old, new = tmp_path / "place", tmp_path / "fresh"
    for folder in (old, new):
        folder.mkdir()
        (folder / "name").write_text(folder.name)
    put_in_place(new, tmp_path / "place")
    assert (tmp_path / "place" / "name").read_text() == "fresh"
    assert (tmp_path / "fresh" / "name").read_text() == "place"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh", "place"]


def test_a_folder_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, files = tmp_path / "new" / "place", {"a": b"1", "deep/b": b"2"}
    write_folder(place, files)
    write_folder(place, files | {"a": b"3"})
    assert {path.name: path.read_bytes() for path in place.rglob("*") if path.is_file()} == {
        "a": b"3",
        "b": b"2",
    }
    assert place.stat().st_mode & 0o777 == 0o755

    def full(path: Path, _: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(durable, "write_file", full)
    with pytest.raises(OSError, match="No space left"):
        write_folder(place, {"c": b""})
    assert (place / "a").read_bytes() == b"3"
    assert list(place.parent.iterdir()) == [place]
