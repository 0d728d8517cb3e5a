"""What a scenario has tried, what happened, and whether that is as it should be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """`holds` is None for what is told for comparison only, or was not tried: `is_skipped`."""

    tried: str
    happened: str
    holds: bool | None = None
    is_skipped: bool = False

    @classmethod
    def skipped(cls, tried: str, why: str) -> Outcome:
        """What this machine lacks something for."""
        return cls(tried, f"skipped: {why}", is_skipped=True)

    @property
    def is_as_it_should_be(self) -> bool:
        """Nothing that was not tried is."""
        return self.holds is not False and not self.is_skipped


Scenario = Callable[[Path], Iterator[Outcome]]
"""Runs in a folder of its own, which is there only as long as it runs."""


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


LIMITS_S = {
    "rolling_restart": 300,
    "kill": 240,
    "worker_kill": 120,
    "hot_swap": 240,
    "clock_jump": 120,
    "disk_full": 900,
    "descriptors": 120,
    "idle_connections": 120,
    "slow_readers": 180,
    "fuzz": 1200,
}
"""The scenarios, each a module, in the order in which they run, and how long each may take."""
