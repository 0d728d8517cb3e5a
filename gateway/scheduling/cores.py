"""Which share of the cores batches keep busy.

A full gateway's workers have them all, and each prepares its own batch as fast without handing
images to threads that would wait for a core, and for the interpreter's lock.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Cores:
    """Counts workers that are at work. Safe to use from any thread."""

    def __init__(self, count: int) -> None:
        self._count, self._at_work, self._lock = count, 0, threading.Lock()

    def are_idle(self) -> bool:
        """Whether some are."""
        return self._at_work < self._count

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """A worker keeps one busy until the end of the body."""
        self._add(1)
        try:
            yield
        finally:
            self._add(-1)

    def _add(self, workers: int) -> None:
        with self._lock:
            self._at_work += workers
