"""How much work has been coming in lately: in a burst, at once."""

from __future__ import annotations

import math

MEMORY_MS = 50.0


class Arrivals:
    """Milliseconds of work for each millisecond of time. The last to come is not in it yet: one
    alone is no rate, however much work it is."""

    def __init__(self) -> None:
        self._before, self._last_ms, self._at_ms = 0.0, 0.0, -math.inf

    def add(self, work_ms: float, now_ms: float) -> None:
        self._before = (self._before + self._last_ms / MEMORY_MS) * self._left(now_ms)
        self._last_ms, self._at_ms = work_ms, now_ms

    def rate(self, now_ms: float) -> float:
        return self._before * self._left(now_ms)

    def _left(self, now_ms: float) -> float:
        """Of what there was when the last one came."""
        return math.exp(-max(0.0, now_ms - self._at_ms) / MEMORY_MS)
