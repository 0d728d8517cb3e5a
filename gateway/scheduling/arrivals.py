"""How much work has been coming in lately: in a burst, at once."""

from __future__ import annotations

import math

MEMORY_MS = 100.0


class Arrivals:
    """Milliseconds of work for each millisecond of time."""

    def __init__(self) -> None:
        self._rate, self._at_ms = 0.0, -math.inf

    def add(self, work_ms: float, now_ms: float) -> None:
        self._rate = self.rate(now_ms) + work_ms / MEMORY_MS
        self._at_ms = now_ms

    def rate(self, now_ms: float) -> float:
        return self._rate * math.exp(-max(0.0, now_ms - self._at_ms) / MEMORY_MS)
