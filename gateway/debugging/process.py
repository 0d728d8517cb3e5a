"""What the process is doing this moment: its threads and its event loop's tasks.

Places in the code alone: no value of a variable is shown.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from concurrent.futures import Future
from types import FrameType
from typing import Any

from gateway.debugging.pages import Asked, BusyError

LOOP_WITHIN_S = 2.0
MOST_TASKS = 500
_MOST_FRAMES = 20


def stacks(_: Asked) -> str:
    """Where every thread is, the outermost call first."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    shown = []
    for ident, frame in sys._current_frames().items():
        name = names.get(ident, "unknown to Python")
        shown.append(f"thread {name} ({ident})\n{''.join(traceback.format_stack(frame))}")
    return "\n".join(shown)


class Tasks:
    """A page of what waits and runs in an event loop. The loop itself is asked: one that does not
    answer is kept from its work, and its thread's stack says by what."""

    def __init__(self, loop: asyncio.AbstractEventLoop, within_s: float = LOOP_WITHIN_S) -> None:
        self._loop, self._within_s = loop, within_s

    def __call__(self, _: Asked) -> str:
        """Raises `BusyError`."""
        found: Future[str] = Future()

        def look() -> None:
            if not found.set_running_or_notify_cancel():
                return
            try:
                found.set_result(_of_loop(self._loop))
            except Exception as error:  # whoever asks is told, and not the loop
                found.set_exception(error)

        try:
            self._loop.call_soon_threadsafe(look)
        except RuntimeError:
            raise BusyError("the event loop has ended") from None
        try:
            return found.result(self._within_s)
        except TimeoutError:
            found.cancel()
            raise BusyError("the event loop does not answer; /debug/stacks says why") from None


def _of_loop(loop: asyncio.AbstractEventLoop) -> str:
    """Those that stand at the same places together, for there are many of a kind."""
    tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    alike: dict[tuple[str, ...], list[str]] = {}
    for task in tasks[:MOST_TASKS]:
        alike.setdefault(_places(task.get_coro()), []).append(task.get_name())
    shown = [f"{len(tasks)} tasks"]
    for places, names in alike.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        shown.append("\n  ".join([f"{names[0]}{more}", *places]))
    if len(tasks) > MOST_TASKS:
        shown.append(f"and {len(tasks) - MOST_TASKS} that were not looked at")
    return "\n".join(shown)


def _places(awaited: Any) -> tuple[str, ...]:
    """Where a coroutine stands, and what it waits for, down to what is no coroutine."""
    places: list[str] = []
    while awaited is not None and len(places) < _MOST_FRAMES:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "ag_frame", None)
        if frame is None:
            break
        places.append(_place(frame))
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "ag_await", None)
    return tuple(places)


def _place(frame: FrameType) -> str:
    """The line that a frame is at."""
    code = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno} {code.co_qualname}"
