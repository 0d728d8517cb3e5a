"""Threads that share cores, simulated: while they want more than there are, each gets its part."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

_NOTHING_MS = 1e-9
"""What is left of a task that is done, as floating-point numbers have it."""


@dataclass(slots=True)
class _Task:
    """Milliseconds of the thread with its cores to itself, and what follows them."""

    left_ms: float
    then: Callable[[], None]


@dataclass(slots=True, eq=False)
class Thread:
    """Does what it is given one after another, on as many cores as it `wants`."""

    wants: int
    tasks: deque[_Task] = field(default_factory=deque)

    def add(self, ms: float, then: Callable[[], None]) -> None:
        """After all that it has been given before; what takes no time, at once."""
        if ms <= 0.0 and not self.tasks:
            then()
        else:
            self.tasks.append(_Task(ms, then))


@dataclass(slots=True)
class Cores:
    """So many of them, and the time."""

    count: int
    now_ms: float = 0.0
    _threads: list[Thread] = field(default_factory=list)

    def thread(self, wants: int = 1) -> Thread:
        """One more that shares them."""
        thread = Thread(wants)
        self._threads.append(thread)
        return thread

    def run(self) -> None:
        """Until nothing is left to do."""
        while self._step(math.inf):
            pass

    def run_until(self, ms: float) -> None:
        """Whatever ends by then, and what follows it."""
        while self._step(ms):
            pass
        self.now_ms = max(self.now_ms, ms)

    def _step(self, until_ms: float) -> bool:
        """To the end of the next task; or as far as `until_ms`, where none ends by then."""
        busy = [thread for thread in self._threads if thread.tasks]
        if not busy:
            return False
        share = min(1.0, self.count / sum(thread.wants for thread in busy))
        least_ms = min(thread.tasks[0].left_ms for thread in busy)
        ends_ms = self.now_ms + least_ms / share
        is_end = ends_ms <= until_ms
        # Not by the times, which after hours are too large to tell a task's last instant.
        done_ms = least_ms if is_end else (until_ms - self.now_ms) * share
        for thread in busy:
            thread.tasks[0].left_ms -= done_ms
        self.now_ms = min(ends_ms, until_ms)
        if is_end:
            for thread in [t for t in busy if t.tasks[0].left_ms <= _NOTHING_MS]:
                thread.tasks.popleft().then()
        return is_end
