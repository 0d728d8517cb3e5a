"""How long the engine takes here and now: what was measured at the start, corrected by every run.

Latency tables speak of the caller's device; these times are the gateway's own. A correction is the
ratio of what a run took to what was expected of it. Each subnet has one, and all share one, which
holds for those that did not run lately: a machine that slows down slows all of them.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from gateway.engines.costs import Line

SMOOTHING_S = 2.0  # the time in which an old ratio loses all but a third of its weight
NEWEST_AT_LEAST = 0.05  # of the weight, however fast runs follow one another
FORGOTTEN_AFTER_S = 30.0  # so that one slow spell does not shut a subnet out for good


@dataclass(frozen=True, slots=True)
class Mean:
    """An exponentially weighted mean, and when it last changed."""

    value: float
    at: float


class EngineTimes:
    """Expected and corrected milliseconds. Thread-safe."""

    def __init__(
        self, lines: Callable[[str], Line], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`lines` gives what was measured of a subnet."""
        self._lines, self._clock = lines, clock
        self._lock = threading.Lock()
        self._subnets: dict[str, Mean] = {}
        self._all: Mean | None = None
        self._preparation: Mean | None = None

    def record(self, subnet: str, images: int, ms: float) -> float:
        """Take in what one run took. Returns what was expected of it, in ms."""
        expected = self._engine_ms(subnet, images)
        ratio = ms / max(self._lines(subnet).ms(images), 1e-6)
        now = self._clock()
        with self._lock:
            self._subnets[subnet] = _updated(self._subnets.get(subnet), ratio, now)
            self._all = _updated(self._all, ratio, now)
        return expected

    def record_preparation(self, images: int, ms: float) -> None:
        """Take in what decoding, resizing and normalising took."""
        now = self._clock()
        with self._lock:
            self._preparation = _updated(self._preparation, ms / images, now)

    def expected_ms(self, subnet: str, images: int) -> float:
        """What a worker is expected to need for so many images, preparation included."""
        preparation = self._preparation
        return self._engine_ms(subnet, images) + (preparation.value if preparation else 0) * images

    def _engine_ms(self, subnet: str, images: int) -> float:
        return self._lines(subnet).ms(images) * self._ratio(subnet)

    def _ratio(self, subnet: str) -> float:
        since = self._clock() - FORGOTTEN_AFTER_S
        for mean in (self._subnets.get(subnet), self._all):
            if mean is not None and mean.at >= since:
                return mean.value
        return 1.0


def _updated(old: Mean | None, value: float, now: float) -> Mean:
    if old is None or old.at < now - FORGOTTEN_AFTER_S:
        return Mean(value, now)
    weight = max(NEWEST_AT_LEAST, 1 - math.exp(-(now - old.at) / SMOOTHING_S))
    return Mean(old.value + weight * (value - old.value), now)
