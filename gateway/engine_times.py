"""How long the engine takes here and now: a running mean a subnet, corrected by every answer.

Latency tables speak of the caller's device; these times are the gateway's own, and only
decide whether a deadline can still be met.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

WEIGHT = 0.2  # of the newest time in the mean
FORGOTTEN_AFTER_S = 30.0  # so that one slow spell does not shut a subnet out for good


@dataclass(frozen=True, slots=True)
class Mean:
    """An exponentially weighted mean in milliseconds, and when it last changed."""

    ms: float
    at: float


class EngineTimes:
    """Running means by subnet and size of the batch (in powers of two). Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._means: dict[int, dict[str, Mean]] = {}
        self._overall: Mean | None = None

    def record(self, subnet: str, rows: int, ms: float) -> None:
        """Take in what one forward of `rows` images took."""
        now = self._clock()
        with self._lock:
            means = self._means.setdefault(rows.bit_length(), {})
            means[subnet] = self._updated(means.get(subnet), ms, now)
            self._overall = self._updated(self._overall, ms, now)

    def expected_ms(self, rows: int) -> Mapping[str, float]:
        """Expected milliseconds of each subnet that ran lately with about `rows` images."""
        since = self._clock() - FORGOTTEN_AFTER_S
        with self._lock:
            means = self._means.get(rows.bit_length(), {})
            return {subnet: mean.ms for subnet, mean in means.items() if mean.at >= since}

    @property
    def typical_ms(self) -> float:
        """The mean over whatever ran lately, 0 where nothing did."""
        overall = self._overall
        lately = overall is not None and overall.at >= self._clock() - FORGOTTEN_AFTER_S
        return overall.ms if overall is not None and lately else 0.0

    def _updated(self, old: Mean | None, ms: float, now: float) -> Mean:
        if old is None or old.at < now - FORGOTTEN_AFTER_S:
            return Mean(ms, now)
        return Mean(old.ms + WEIGHT * (ms - old.ms), now)
