"""The first bytes of an export, beside the file that it will be, for a later fetch to go on from.

Its name holds the version, so that nothing else has to be kept of it.
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.exports.entry import BLOCK
from gateway.fetching.fetched import put

_VERSION = re.compile(r"[A-Za-z0-9-]{1,64}")
_END = ".part"


class PartialFile:
    """Appended to, and hashed on the way. Nobody else writes to it meanwhile.

    Raises `ValueError` where another process does, or for a version that is none; `OSError`.
    """

    def __init__(self, out: Path, version: str) -> None:
        if not _VERSION.fullmatch(version):
            raise ValueError(f"version: expected letters, digits and dashes, got {version[:80]!r}")
        self.version, self._path = version, out.with_name(f".{out.name}.{version}{_END}")
        self._file = self._path.open("a+b", buffering=0)  # closing writes nothing
        self._digest = hashlib.sha256()
        try:
            self._lock(out)
            self.size = self._read()
        except BaseException:
            self._file.close()
            raise

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def append(self, chunk: bytes) -> None:
        rest = memoryview(chunk)
        while rest:
            written = self._file.write(rest)
            self._digest.update(rest[:written])
            self.size += written
            rest = rest[written:]

    def clear(self) -> None:
        """Begin anew."""
        self._file.truncate(0)
        self._digest, self.size = hashlib.sha256(), 0

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)

    def put(self, sizes: Sequence[int], places: Sequence[Path]) -> None:
        """Cut it into files of these sizes, and move them to their places."""
        if len(sizes) == 1:
            put((self._path,), places)
            return
        with tempfile.TemporaryDirectory(prefix=".compofa-fetch-", dir=self._path.parent) as name:
            files = [Path(name) / str(index) for index in range(len(sizes))]
            self._file.seek(0)
            for file, size in zip(files, sizes, strict=True):
                self._copy(file, size)
            put(files, places)
        self.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """What was written stays; an empty file does not."""
        if self.size == 0:
            self.remove()
        self._file.close()

    def _lock(self, out: Path) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(self._file.fileno()), self._path.stat()):
                return
        except (BlockingIOError, FileNotFoundError):
            pass
        raise ValueError(f"{out}: another fetch is writing it")

    def _read(self) -> int:
        self._file.seek(0)
        while block := self._file.read(BLOCK):
            self._digest.update(block)
        return self._file.tell()

    def _copy(self, file: Path, size: int) -> None:
        with file.open("wb") as target:
            while size > 0 and (block := self._file.read(min(size, BLOCK))):
                target.write(block)
                size -= len(block)


def latest_version(out: Path) -> str | None:
    """The version of the last fetch into `out` that has not ended."""
    parts = sorted(_parts(out), key=lambda part: part.stat().st_mtime_ns)
    return parts[-1].name.removeprefix(f".{out.name}.").removesuffix(_END) if parts else None


def remove_all(out: Path) -> None:
    """Of whatever version; after one has come whole."""
    for part in _parts(out):
        part.unlink(missing_ok=True)


def _parts(out: Path) -> list[Path]:
    found = out.parent.glob(f".{glob.escape(out.name)}.*{_END}")
    skip = len(out.name) + 2
    return [part for part in found if _VERSION.fullmatch(part.name[skip : -len(_END)])]
