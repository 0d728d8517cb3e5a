"""Work done ahead of the one who takes it, in order and never by more than a few items."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def computed_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], *, num_threads: int = 1
) -> Iterator[Result]:
    """`function` of each item, in order, computed on `num_threads` threads of their own.

    While one result is used, the next `num_threads` are in the making. `items` are taken on the
    caller's thread. Dropping the iterator ends the threads after what they have begun.
    """
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(num_threads, thread_name_prefix="ahead") as pool:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > num_threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
