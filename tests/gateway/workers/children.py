"""Processes as the system sees them: whether they run, and how they end."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

_MOST_S = 20.0


class _Ended(Protocol):
    def __call__(self, pid: int, /) -> bool: ...


@contextmanager
def watched(*pids: int) -> Iterator[_Ended]:
    """Says of each whether it has ended, or does so soon; it need not be a child."""
    watching = {pid: os.pidfd_open(pid) for pid in pids}
    try:
        yield lambda pid: bool(select.select([watching[pid]], [], [], _MOST_S)[0])
    finally:
        for fd in watching.values():
            os.close(fd)


def kill(pid: int) -> None:
    """Return once it has ended."""
    with watched(pid) as ended:
        os.kill(pid, signal.SIGKILL)
        assert ended(pid)


def stop(pid: int) -> None:
    """Return once it stands still."""
    os.kill(pid, signal.SIGSTOP)
    until = time.monotonic() + _MOST_S
    while _stat(pid)[0] != "T":
        assert time.monotonic() < until
        time.sleep(0.001)


def of_this_process() -> set[int]:
    return of(os.getpid())


def of(pid: int) -> set[int]:
    """Those that have ended, and that nobody has asked about, as well."""
    found, own = set(), str(pid)
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                parent = _stat(int(folder.name))[1]
            except OSError:  # gone meanwhile
                continue
            if parent == own:
                found.add(int(folder.name))
    return found


def _stat(pid: int) -> list[str]:
    """State, parent, and more."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
