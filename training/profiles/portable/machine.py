"""The machine that measures: its processor, and CPUs for the measuring process alone."""

from __future__ import annotations

import os
import platform
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def processor() -> str:
    """The processor's name as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@contextmanager
def pinned(num_threads: int) -> Iterator[str]:
    """Keep this process on `num_threads` CPUs, each of a core of its own where there are enough.

    Yields which, in words. With one thread only the caller is kept, so that what merely watches
    goes elsewhere. Threads that start later stay with it, too. A system without affinities (not
    Linux) is told so in the words. Raises `ValueError` for more threads than CPUs.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield "nowhere: this system does not say where a process runs"
        return
    allowed = os.sched_getaffinity(0)
    if num_threads > len(allowed):
        raise ValueError(f"threads: expected at most {len(allowed)}, as many as CPUs")
    chosen = _one_a_core(allowed)[:num_threads]
    before = {thread: os.sched_getaffinity(thread) for thread in _threads(num_threads)}
    try:
        for thread in before:
            os.sched_setaffinity(thread, chosen)
        yield "CPU " + ", ".join(map(str, chosen))
    finally:
        for thread, cpus in before.items():
            _set_back(thread, cpus)


def _threads(num_threads: int) -> list[int]:
    """Those to keep: the caller (0), or all that there are, as some of them will help it."""
    return [0] if num_threads == 1 else [int(t.name) for t in Path("/proc/self/task").iterdir()]


def _one_a_core(cpus: set[int]) -> list[int]:
    """The CPUs in order, those that share a core with an earlier one last."""
    seen: set[str] = set()
    first: list[int] = []
    later: list[int] = []
    for cpu in sorted(cpus):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        core = siblings.read_text() if siblings.exists() else str(cpu)
        (later if core in seen else first).append(cpu)
        seen.add(core)
    return first + later


def _set_back(thread: int, cpus: set[int]) -> None:
    try:
        os.sched_setaffinity(thread, cpus)
    except ProcessLookupError:  # it has ended
        return
