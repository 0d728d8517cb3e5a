"""A value read from files, and read again when they change. Knows nothing of what is in them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from gateway import logs

LOOK_EVERY_S = 1.0

T = TypeVar("T")
_Signature = tuple[tuple[int, int, int, int] | None, ...]


class Reloaded(Generic[T]):
    """`value` is what `read` made of `files` when that last went well; `error` says in one line
    what is wrong with them now, and is empty where nothing is.

    Files may be replaced one after the other: what does not fit together is not taken, and read
    again at the next look. Raises what `read` raises, `ValueError` and `OSError`, for the first
    time only.
    """

    def __init__(self, what: str, files: Sequence[Path], read: Callable[[], T]) -> None:
        self._what, self._files, self._read = what, files, read
        self._seen = self._signature()
        self.value = read()
        self.error = ""

    async def run(self, every_s: float = LOOK_EVERY_S) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Read the files again where they are not what they were."""
        signature = self._signature()  # before the reading: what changes meanwhile is read again
        if signature == self._seen and not self.error:
            return
        try:
            fresh = self._read()
        except (ValueError, OSError) as error:
            self._keep(" ".join(str(error).split()))
        else:
            if fresh != self.value or self.error:
                logs.log_event("read again", what=self._what)
            self.value, self.error = fresh if fresh != self.value else self.value, ""
        self._seen = signature

    def _keep(self, error: str) -> None:
        if error != self.error:
            logs.warn("cannot be read again; going on with what was", what=self._what, error=error)
        self.error = error

    def _signature(self) -> _Signature:
        """Changes with the files, also where a name begins to mean another one."""
        return tuple(map(_stamp, self._files))


def _stamp(file: Path) -> tuple[int, int, int, int] | None:
    try:
        now = file.stat()
    except OSError:
        return None
    return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns
