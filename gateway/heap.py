"""Hands back what the C library keeps of memory that is free.

glibc keeps what was freed among what is in use: after a crowd of large requests, or a subnet that
was compiled, hundreds of megabytes that only another crowd would use again (`malloc_trim(3)`).
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable
from pathlib import Path

INTERVAL_S = 30.0
GROWN = 1.01
"""Resident memory is so many times its least since the last trim, or there is nothing to do: a trim
takes up to 20 ms, in which other threads may have to wait for memory."""


def resident_bytes(process: int | str = "self") -> int:
    """Of this process, or of another by its id; 0 where the system does not say (only Linux does),
    or there is none."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def trim() -> None:
    """Hand back every page that is free. Without glibc nothing happens."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


class Trimmer:
    """Trims whenever the process has grown since its least."""

    def __init__(
        self, resident: Callable[[], int] = resident_bytes, hand_back: Callable[[], None] = trim
    ) -> None:
        self._resident, self._hand_back, self._least = resident, hand_back, resident()

    def look(self) -> None:
        """Trim, if it has."""
        now = self._resident()
        if now > GROWN * self._least:
            self._hand_back()
            self._least = self._resident()
        else:
            self._least = min(self._least, now)


async def kept_trim(trimmer: Trimmer | None = None, interval_s: float = INTERVAL_S) -> None:
    """Look again and again, in a thread, until cancelled."""
    trimmer = trimmer or Trimmer()
    while True:
        await asyncio.sleep(interval_s)
        await asyncio.to_thread(trimmer.look)
