"""Threads that prepare the inputs of a batch side by side, where cores are idle.

A full gateway has none: its workers keep them all busy, and each prepares its own batch as fast
without handing images to threads that would wait for a core, and for the interpreter's lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Preparers:
    """As many threads as `cores`. Safe to use from any thread."""

    def __init__(self, cores: int) -> None:
        self._cores, self._at_work, self._lock = cores, 0, threading.Lock()
        self._threads = ThreadPoolExecutor(cores, thread_name_prefix="prepare")

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """A worker keeps a core busy until the end of the body."""
        self._add(1)
        try:
            yield
        finally:
            self._add(-1)

    def map(self, prepare: Callable[[T], R], inputs: Iterable[T]) -> Iterator[R]:
        """What is made of each, in order: side by side unless workers have all cores."""
        if self._at_work >= self._cores:
            return map(prepare, inputs)
        return self._threads.map(prepare, inputs)

    def close(self) -> None:
        self._threads.shutdown()

    def _add(self, workers: int) -> None:
        with self._lock:
            self._at_work += workers
