"""How long the engine takes here and now: what was measured at the start, corrected by every run.

Latency tables speak of the caller's device; these times are the gateway's own. A correction is the
ratio of what a run took to what was expected of it. Each subnet has one, and all share one, which
holds for those that did not run lately: a machine that slows down slows all of them. Where nothing
runs, corrections fade.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from gateway.engines.costs import Line

SMOOTHING_S = 2.0  # the time in which an old ratio loses all but a third of its weight
NEWEST_AT_LEAST, NEWEST_AT_MOST = 0.05, 0.5
"""Of the weight: however fast runs follow one another; and of one that took long by accident."""
HANDLING_MS, GROWTH = 4.0, 2.0
"""What handling an image took counts up to so much, or so many times the mean. One huge image says
nothing of the next, and nobody would be in time until it is forgotten; several raise the mean."""
FRESH_S = 1.0
"""What is older fades: what ran lately may have been shut out because it was slow, and only runs
can say that it no longer is."""


@dataclass(frozen=True, slots=True)
class Mean:
    """An exponentially weighted mean, and when it last changed."""

    value: float
    at: float

    def now(self, neutral: float, now: float) -> float:
        """The mean, fading to `neutral` once it is no longer fresh."""
        age_s = now - self.at - FRESH_S
        if age_s <= 0.0:
            return self.value
        return neutral + (self.value - neutral) * math.exp(-age_s / SMOOTHING_S)


class EngineTimes:
    """Expected and corrected milliseconds. Thread-safe."""

    def __init__(
        self, lines: Callable[[str], Line], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`lines` gives what was measured of a subnet."""
        self._lines, self._clock = lines, clock
        self._lock = threading.Lock()
        self._subnets: dict[str, Mean] = {}
        self._all = self._handling = Mean(0.0, -math.inf)
        self.failed_batches = 0  # whose requests were then run one by one

    def record(self, subnet: str, images: int, ms: float) -> None:
        """Take in what one run took."""
        ratio = ms / max(self._lines(subnet).ms(images), 1e-6)
        now = self._clock()
        with self._lock:
            before = self._subnets.get(subnet, self._all)
            self._subnets[subnet] = _updated(before, ratio, 1.0, now)
            self._all = _updated(self._all, ratio, 1.0, now)

    def record_handling(self, images: int, ms: float) -> None:
        """Take in what decoding, resizing, normalising and answering took."""
        now = self._clock()
        with self._lock:
            most = max(HANDLING_MS, GROWTH * self._handling.now(0.0, now))
            self._handling = _updated(self._handling, min(most, ms / images), 0.0, now)

    def record_failure(self) -> None:
        """The engine failed on a batch of more than one request."""
        with self._lock:
            self.failed_batches += 1

    def expected_ms(self, subnet: str, images: int) -> float:
        """What a worker is expected to need for so many images, handling included."""
        now = self._clock()
        run_ms = self._lines(subnet).ms(images) * self._ratio(subnet, now)
        return run_ms + self._handling.now(0.0, now) * images

    def _ratio(self, subnet: str, now: float) -> float:
        shared = self._all.now(1.0, now)
        own = self._subnets.get(subnet)
        return shared if own is None else own.now(shared, now)


def _updated(old: Mean, value: float, neutral: float, now: float) -> Mean:
    """The longer ago the old one, the less it weighs."""
    weight = 1 - math.exp(-(now - old.at) / SMOOTHING_S)
    weight = min(NEWEST_AT_MOST, max(NEWEST_AT_LEAST, weight))
    mean = old.now(neutral, now)
    return Mean(mean + weight * (value - mean), now)
