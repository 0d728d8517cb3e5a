"""A folder of exports under a bound in bytes, shared by all gateways that are given it.

An entry appears by a rename, whole, and what was not asked for longest goes first. Nothing is
kept in memory but which entries have been read through, so that processes need not agree.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from gateway import logs
from gateway.exports.entry import DamagedEntryError, Export, open_entry, remove_idle
from gateway.exports.key import ExportKey
from gateway.exports.workplace import left_behind

_ENTRY = ".export"
_WORKPLACE = ".build"


class ExportCache:
    """Blocks on the disk: to be called from threads, any of them."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._checked: dict[str, tuple[int, ...]] = {}

    def open(self, key: ExportKey) -> Export | None:
        """The export, if it is here; a damaged one is removed. Raises `OSError`."""
        path = self._path(key)
        try:
            export = open_entry(path)
            self._check(path, export)
        except FileNotFoundError:
            return None
        except DamagedEntryError as error:
            logs.warn("damaged export", subnet=key.subnet, format=key.format, reason=str(error))
            path.unlink(missing_ok=True)
            return None
        with suppress(OSError):  # of a folder that is read only nothing will be removed either
            status = path.stat()
            os.utime(path, ns=(time.time_ns(), status.st_mtime_ns))
        return export

    def put(self, key: ExportKey, entry: Path) -> Export:
        """Move a finished entry to its place, and open it before anyone can remove it."""
        export = open_entry(entry)
        path = self._path(key)
        self._checked[path.name] = export.identity()
        entry.replace(path)
        return export

    def workplace(self, key: ExportKey) -> Path:
        """Where to build it: a folder that only one process at a time may have."""
        return self._folder / f"{key.digest[:32]}{_WORKPLACE}"

    def trim(self) -> None:
        """Keep within the bound, as far as nobody reads what would go."""
        entries = sorted(self._entries(), key=lambda entry: entry[1].st_atime_ns)
        total = sum(status.st_size for _, status in entries)
        for path, status in entries:
            if total <= self._max_bytes:
                return
            if remove_idle(path):
                self._checked.pop(path.name, None)
                total -= status.st_size

    def size_bytes(self) -> int:
        """What the folder holds now, by whichever process."""
        return sum(status.st_size for _, status in self._entries())

    def clean(self) -> None:
        """Remove what builds that were killed have left, and keep within the bound. Raises
        `OSError` where there is no folder and none can be made."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for folder in self._folder.glob(f"*{_WORKPLACE}"):
            with left_behind(folder) as is_ours:
                if is_ours:
                    shutil.rmtree(folder, ignore_errors=True)
        self.trim()

    def _check(self, path: Path, export: Export) -> None:
        """Read an entry through where it is new to this process. Closes a damaged one."""
        try:
            identity = export.identity()
            if self._checked.get(path.name) != identity:
                export.check()
                self._checked[path.name] = identity
        except BaseException:
            export.close()
            raise

    def _path(self, key: ExportKey) -> Path:
        return self._folder / f"{key.digest[:32]}{_ENTRY}"

    def _entries(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self._folder.glob(f"*{_ENTRY}"):
            with suppress(OSError):  # another process has removed it
                yield path, path.stat()
