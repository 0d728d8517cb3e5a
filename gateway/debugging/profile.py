"""Where threads spend their time: looked at again and again, by whoever asks, for a while.

No code is slowed down by it but through the looks themselves, of which there are `RATE_HZ`. A
thread that waits is counted where it waits.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import FrameType

from gateway.debugging.pages import Asked, BusyError

RATE_HZ = 50.0
DEFAULT_S, LONGEST_S = 5.0, 30.0
_DEEPEST = 64
_MOST_STACKS = 2000


class Profile:
    """A page: `seconds` of looks, as stacks in one line each with how often they were seen, the
    most frequent first: what flame graphs are drawn from. One at a time."""

    def __init__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        self._sleep, self._taking = sleep, threading.Lock()

    def __call__(self, asked: Asked) -> str:
        """Raises `ValueError` for another length than it may have, `BusyError`."""
        seconds = _seconds(asked.query.get("seconds"))
        if not self._taking.acquire(blocking=False):
            raise BusyError("another profile is being taken")
        try:
            counts = self._take(round(seconds * RATE_HZ))
        finally:
            self._taking.release()
        return "\n".join(f"{stack} {count}" for stack, count in counts.most_common())

    def _take(self, looks: int) -> Counter[str]:
        own, counts = threading.get_ident(), Counter[str]()
        for _ in range(looks):
            names = {thread.ident: thread.name for thread in threading.enumerate()}
            for ident, frame in sys._current_frames().items():
                if ident != own:
                    stack = ";".join([names.get(ident, str(ident)), *_functions(frame)])
                    known = stack in counts or len(counts) < _MOST_STACKS
                    counts[stack if known else "others"] += 1
            self._sleep(1 / RATE_HZ)
        return counts


def _functions(frame: FrameType | None) -> list[str]:
    """The innermost of a stack, the outermost first."""
    found: list[str] = []
    while frame is not None and len(found) < _DEEPEST:
        module = frame.f_globals.get("__name__", "?")
        found.append(f"{module}.{frame.f_code.co_qualname}".replace(" ", "_").replace(";", ":"))
        frame = frame.f_back
    return found[::-1]


def _seconds(given: str | None) -> float:
    try:
        seconds = DEFAULT_S if given is None else float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= LONGEST_S:
        raise ValueError(
            f"seconds: expected a number above 0, at most {LONGEST_S:g}, got {given!r:.40}"
        )
    return seconds
