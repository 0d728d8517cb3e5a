"""By how much runs exceed what is expected of them, learned from those that ended.

Their ratios are about log-normal, wider on a machine with other tenants than on one that is left
alone (docs/scaling.md): a margin is so many standard deviations.
"""

from __future__ import annotations

import math

USUAL = 0.2  # the standard deviation of the ratio's logarithm, before anything has run
LEAST, MOST = 0.1, 0.5
NEWEST = 1 / 200
"""The weight of the last run: some hundred of them tell that a machine has become crowded."""
FARTHEST = math.log(4.0)
"""What counts of a run that took longer: it was no matter of chance."""


class Lateness:
    """The spread of what runs take. For one thread at a time."""

    def __init__(self) -> None:
        self._variance = USUAL**2

    def record(self, expected_ms: float, took_ms: float) -> None:
        """Take in one run. Only those that took longer count, as if as many had taken less: a
        machine that has just become faster is no risk."""
        ratio = max(1.0, took_ms / max(expected_ms, 1e-6))
        beyond = min(FARTHEST, math.log(ratio))
        self._variance += NEWEST * (2 * beyond**2 - self._variance)

    @property
    def spread(self) -> float:
        """The standard deviation of the ratio's logarithm, within what is believed of it."""
        return min(MOST, max(LEAST, math.sqrt(self._variance)))

    def margin(self, deviations: float) -> float:
        """So many times what is expected hold a run that is so many standard deviations off."""
        return math.exp(deviations * self.spread)
