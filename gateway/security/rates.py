"""How fast one caller may call: a token bucket for each, in bounded memory. Pure but for a clock.

A bucket is one number, the time until which its owner has used what it may (the generic cell rate
algorithm): it fills as time goes by, without anybody filling it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

MOST_CALLERS = 10_000


class Rates:
    """At most `burst` at once, and `rate` a second from then on, for each caller.

    Of the `most` callers that are remembered the one seen longest ago goes first, and begins
    anew with a full bucket.
    """

    def __init__(
        self,
        rate: float,
        burst: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        most: int = MOST_CALLERS,
    ) -> None:
        self._interval_s = 1 / rate
        self._slack_s = (max(1.0, rate) if burst is None else burst) * self._interval_s
        self._clock, self._most = clock, most
        self._used_until: OrderedDict[str, float] = OrderedDict()

    def take(self, caller: str) -> float:
        """Take one of the caller's; 0, or the seconds until there is one and nothing taken."""
        now = self._clock()
        until = max(now, self._used_until.get(caller, now)) + self._interval_s
        wait_s = until - now - self._slack_s
        if wait_s > 1e-9:
            return wait_s
        self._used_until[caller] = until
        self._used_until.move_to_end(caller)
        if len(self._used_until) > self._most:
            self._used_until.popitem(last=False)
        return 0.0
