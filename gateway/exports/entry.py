"""One export in a file: a line that says what it is, then the bytes of its files.

The line holds their SHA-256, so that a torn or damaged file is noticed. Who has an entry open
holds a shared lock on it; a cache removes only what it can lock for itself.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

BLOCK = 1024 * 1024  # bytes of a file in memory at once
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a disk says that takes no more."""
_LONGEST_RECORD = 64 * 1024


class DamagedEntryError(Exception):
    """An entry is not what its first line says."""


class ExportedFile(BaseModel):
    """Name and bytes of one file of an export."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    size: int = Field(ge=0)


class Record(BaseModel):
    """An entry's first line. `sha256` is that of the files' bytes, one file after the other."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subnet: str
    format: str
    sha256: str
    files: tuple[ExportedFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


class Export:
    """An entry that is open for reading. Close it."""

    def __init__(self, descriptor: int, record: Record, start: int) -> None:
        self._descriptor, self.record, self._start = descriptor, record, start

    def read(self, offset: int, size: int) -> bytes:
        """Bytes from `offset` on, fewer than `size` only at the end. Safe from any thread."""
        return os.pread(self._descriptor, size, self._start + offset)

    def again(self) -> Export:
        """The same, to be closed for itself."""
        return Export(os.dup(self._descriptor), self.record, self._start)

    def identity(self) -> tuple[int, ...]:
        """Another one where the file has been replaced or written to."""
        status = os.fstat(self._descriptor)
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns

    def check(self) -> None:
        """Read all of it. Raises `DamagedEntryError`."""
        digest, offset = hashlib.sha256(), 0
        while block := self.read(offset, BLOCK):
            digest.update(block)
            offset += len(block)
        if (offset, digest.hexdigest()) != (self.record.size, self.record.sha256):
            raise DamagedEntryError("its SHA-256 is not the one in its first line")

    def close(self) -> None:
        os.close(self._descriptor)


def write_entry(subnet: str, format_name: str, files: Sequence[Path], path: Path) -> None:
    """Write `files` as an entry, through to the disk."""
    record = Record(
        subnet=subnet,
        format=format_name,
        sha256=_sha256(files),
        files=tuple(ExportedFile(name=f.name, size=f.stat().st_size) for f in files),
    )
    with path.open("wb") as entry:
        entry.write(record.model_dump_json().encode() + b"\n")
        for file in files:
            with file.open("rb") as source:
                shutil.copyfileobj(source, entry, BLOCK)
        entry.flush()
        os.fsync(entry.fileno())


def open_entry(path: Path) -> Export:
    """Raises `FileNotFoundError`, and `DamagedEntryError` where the first line is none."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        line, newline, _ = os.pread(descriptor, _LONGEST_RECORD, 0).partition(b"\n")
        record = Record.model_validate_json(line)
    except ValidationError:
        os.close(descriptor)
        raise DamagedEntryError("its first line is not a record") from None
    except BaseException:
        os.close(descriptor)
        raise
    return Export(descriptor, record, len(line) + len(newline))


def remove_idle(path: Path) -> bool:
    """Remove an entry that nobody has open; whether it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _sha256(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as source:
            while block := source.read(BLOCK):
                digest.update(block)
    return digest.hexdigest()
