"""How often each subnet ran lately."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from supernet.architecture import Architecture

HALF_LIFE_S = 60.0
_FORGOTTEN_BELOW = 0.01


@dataclass(slots=True)
class _Count:
    value: float
    at: float  # when the value was right


class Usage:
    """Counts of runs that lose half their weight in `half_life_s`. Thread-safe."""

    def __init__(
        self, half_life_s: float = HALF_LIFE_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._decay = math.log(2) / half_life_s
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[Architecture, _Count] = {}
        self._last_at = -math.inf

    @property
    def quiet_s(self) -> float:
        """How long ago the last run began."""
        return self._clock() - self._last_at

    def add(self, arch: Architecture) -> None:
        """One more run."""
        now = self._clock()
        with self._lock:
            count = self._counts.setdefault(arch, _Count(0.0, now))
            count.value = self._faded(count, now) + 1.0
            count.at = self._last_at = now

    def counts(self) -> dict[Architecture, float]:
        """What is left of each count, the largest first."""
        now = self._clock()
        with self._lock:
            faded = {arch: self._faded(count, now) for arch, count in self._counts.items()}
            for arch in [arch for arch, value in faded.items() if value < _FORGOTTEN_BELOW]:
                del self._counts[arch], faded[arch]
        return dict(sorted(faded.items(), key=lambda item: -item[1]))

    def _faded(self, count: _Count, now: float) -> float:
        return count.value * math.exp(-self._decay * (now - count.at))
