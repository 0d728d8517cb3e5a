"""From the futures that threads settle to an event loop's, many with one wake-up.

Each wake-up is a system call that gives up the interpreter's lock, and the loop, once awake, takes
it: a thread that settled eight futures by `asyncio.wrap_future` would wait for the loop seven times
before it could go on.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
_Calls = list[Callable[[], None]]


class _Held(threading.local):
    """What a thread has not told yet, by the loop that has to know."""

    calls: defaultdict[asyncio.AbstractEventLoop, _Calls] | None = None


_held = _Held()


@contextmanager
def settled_together() -> Iterator[None]:
    """The loops hear at the end, once each, of what this thread settles within."""
    calls = _held.calls = defaultdict(list)
    try:
        yield
    finally:
        _held.calls = None
        for loop, of_loop in calls.items():
            _tell(loop, of_loop)


def awaitable(source: Future[T]) -> asyncio.Future[T]:
    """A future of the running loop that ends as `source` does; cancelled, it cancels `source`."""
    loop = asyncio.get_running_loop()
    target: asyncio.Future[T] = loop.create_future()

    def settled(_: Future[T]) -> None:
        def copy() -> None:
            _copy(source, target)

        if _held.calls is None:
            _tell(loop, [copy])
        else:
            _held.calls[loop].append(copy)

    def cancelled(_: asyncio.Future[T]) -> None:
        if target.cancelled():
            source.cancel()

    target.add_done_callback(cancelled)
    source.add_done_callback(settled)
    return target


def _tell(loop: asyncio.AbstractEventLoop, calls: _Calls) -> None:
    def run() -> None:
        for call in calls:
            call()

    if not loop.is_closed():
        loop.call_soon_threadsafe(run)


def _copy(source: Future[T], target: asyncio.Future[T]) -> None:
    if target.done():
        return
    if source.cancelled():
        target.cancel()
    elif (error := source.exception()) is not None:
        target.set_exception(error)
    else:
        target.set_result(source.result())
