"""Threads that prepare the inputs of a batch side by side, for when cores are idle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Preparers:
    """As many threads as `cores`, none before they are needed. Safe to use from any thread."""

    def __init__(self, cores: int) -> None:
        self._threads = ThreadPoolExecutor(cores, thread_name_prefix="prepare")

    def map(self, prepare: Callable[[T], R], inputs: Iterable[T]) -> Iterator[R]:
        """What is made of each, in order."""
        return self._threads.map(prepare, inputs)

    def close(self) -> None:
        self._threads.shutdown()
