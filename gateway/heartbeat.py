"""Notices where the event loop is kept from its work: then no request is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

INTERVAL_S = 0.1
STUCK_AFTER_S = 5.0


class Heartbeat:
    """Looks at a clock again and again from within an event loop. `is_stuck` may be asked from any
    thread, and is what health checks outside of the loop should ask."""

    def __init__(
        self,
        observe: Callable[[float], None],
        *,
        interval_s: float = INTERVAL_S,
        stuck_after_s: float = STUCK_AFTER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`observe` is told by how many seconds each beat came late."""
        self._observe, self._interval_s, self._clock = observe, interval_s, clock
        self._stuck_after_s = stuck_after_s
        self._last = clock()

    @property
    def is_stuck(self) -> bool:
        """Whether there has been no beat for long."""
        return self._clock() - self._last > self._stuck_after_s

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            self._last = self._clock()
            await asyncio.sleep(self._interval_s)
            self._observe(max(0.0, self._clock() - self._last - self._interval_s))
