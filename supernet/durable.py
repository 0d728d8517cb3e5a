"""Files that are there whole or not at all, whatever ends the process or fills the disk."""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


def write_file(path: Path, data: bytes) -> None:
    """Write beside `path`, through to the disk, then rename. On `OSError` nothing is left.

    A link stays, and what it leads to is replaced; a device or pipe is written into.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    path = Path(os.path.realpath(path))
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:  # a failed write does not say by itself which file it was for
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        partial.unlink(missing_ok=True)


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write `files`, by name, in folders of at most one level, as `replaced_folder` does."""
    with replaced_folder(folder) as fresh:
        for name, data in files.items():
            path = fresh / name
            path.parent.mkdir(exist_ok=True)
            write_file(path, data)


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """A fresh folder beside `folder` that takes its place at the end: what is at `folder` is the
    old one or the whole new one. A link to a folder stays."""
    folder = Path(os.path.realpath(folder))
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield fresh
        fresh.chmod(0o755)
        put_in_place(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def put_in_place(fresh: Path, folder: Path) -> None:
    """Make the folder `fresh` stand at `folder`; one that was there is at `fresh` afterwards.

    In one step where the system can swap two names (Linux's renameat2). Elsewhere a kill
    between two renames leaves the old folder beside its place, under the name of `fresh` with
    `.old`.
    """
    if not folder.exists():
        fresh.rename(folder)
    elif not _exchange(fresh, folder):
        old = fresh.with_name(fresh.name + ".old")
        folder.rename(old)
        fresh.rename(folder)
        old.rename(fresh)


def _exchange(a: Path, b: Path) -> bool:
    """Swap two names in one step; False where the system or its file system cannot."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 is None:
        return False
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(renameat2(here, os.fsencode(a), here, os.fsencode(b), swap) == 0)
