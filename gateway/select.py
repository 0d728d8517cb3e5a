"""Which subnet an idle gateway answers with: exact and pure, from (catalog, table, constraints).

`Candidates` is built once for a catalog and a device class's table; a selection is then a
bisect on a Pareto frontier. `ladder.py` says what a request may get under load. Knows nothing of
torch, stores or gRPC.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gateway.errors import NoSubnet
from gateway.request import Constraints, Selection
from supernet.architecture import Architecture
from supernet.catalog import Catalog
from supernet.latency import LatencyTable

Preference = Literal["accuracy", "latency"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A subnet with what selection weighs; latency on the device class."""

    subnet: str
    resolution: int
    accuracy: float
    latency_ms: float

    @property
    def most_accurate_first(self) -> tuple[float, float, str]:
        """Sorts by accuracy, then the lower latency; the name settles what is left."""
        return -self.accuracy, self.latency_ms, self.subnet

    @property
    def fastest_first(self) -> tuple[float, float, str]:
        """Sorts by latency, then the higher accuracy; the name settles what is left."""
        return self.latency_ms, -self.accuracy, self.subnet

    @property
    def described(self) -> str:
        """In an error."""
        return f"{self.subnet} ({self.latency_ms:.4g} ms, accuracy {self.accuracy:.4f})"


class Tier:
    """The candidates up to some resolution: all of them, and their Pareto frontier."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self.by_preference: dict[Preference, tuple[Candidate, ...]] = {
            "accuracy": tuple(sorted(candidates, key=lambda c: c.most_accurate_first)),
            "latency": tuple(sorted(candidates, key=lambda c: c.fastest_first)),
        }
        self.by_subnet = {candidate.subnet: candidate for candidate in candidates}
        self.frontier = _frontier(self.by_preference["latency"])
        self._latencies = [c.latency_ms for c in self.frontier]
        self._accuracies = [c.accuracy for c in self.frontier]

    def most_accurate_within(self, budget_ms: float) -> Candidate | None:
        i = bisect_right(self._latencies, budget_ms)
        return self.frontier[i - 1] if i else None

    def fastest_reaching(self, accuracy: float) -> Candidate | None:
        i = bisect_left(self._accuracies, accuracy)
        return self.frontier[i] if i < len(self.frontier) else None


class Candidates:
    """Every subnet that is in both a catalog and a device class's table, ready to choose from."""

    def __init__(self, catalog: Catalog, table: LatencyTable) -> None:
        everything = [
            Candidate(
                entry.subnet,
                Architecture.parse(entry.subnet).resolution,
                entry.accuracy,
                table.latency_ms[entry.subnet],
            )
            for entry in catalog.entries
            if entry.subnet in table.latency_ms
        ]
        self.device_class = table.device_class
        self.default_budget_ms = table.default_budget_ms
        self.resolutions = sorted({c.resolution for c in everything})
        self._tiers = [
            Tier([c for c in everything if c.resolution <= resolution])
            for resolution in self.resolutions
        ]

    @property
    def frontier(self) -> tuple[Candidate, ...]:
        """Those that nothing beats in both latency and accuracy, at whatever resolution."""
        return self._tiers[-1].frontier if self._tiers else ()

    def tier(self, max_resolution: int | None = None) -> Tier:
        """The candidates at or below a resolution. Raises `NoSubnet` where there is none."""
        resolutions = self.resolutions
        i = (
            len(resolutions)
            if max_resolution is None
            else bisect_right(resolutions, max_resolution)
        )
        if i:
            return self._tiers[i - 1]
        if not resolutions:
            raise NoSubnet(f"device class {self.device_class!r}: its table covers no subnet")
        known = f"the smallest is {resolutions[0]}"
        raise NoSubnet(
            f"device class {self.device_class!r} has no subnet at or below {max_resolution} "
            f"pixels; {known}"
        )


@dataclass(frozen=True, slots=True)
class Goal:
    """Constraints with the default budget filled in: within `budget_ms` and reaching
    `min_accuracy`, the first by `prefer`."""

    budget_ms: float | None
    min_accuracy: float | None
    prefer: Preference

    @classmethod
    def of(cls, constraints: Constraints, default_budget_ms: float | None) -> Goal:
        budget, accuracy = constraints.latency_budget_ms, constraints.min_accuracy
        if budget is None and accuracy is not None:
            return cls(None, accuracy, "latency")
        return cls(default_budget_ms if budget is None else budget, accuracy, "accuracy")

    def admits(self, candidate: Candidate) -> bool:
        within = self.budget_ms is None or candidate.latency_ms <= self.budget_ms
        return within and (self.min_accuracy is None or candidate.accuracy >= self.min_accuracy)

    def order(self, candidate: Candidate) -> tuple[float, float, str]:
        """What sorts candidates that are admitted: the first is the best."""
        if self.prefer == "accuracy":
            return candidate.most_accurate_first
        return candidate.fastest_first

    def best(self, tier: Tier) -> Candidate | None:
        """What an idle gateway with all the time in the world would choose."""
        if self.prefer == "latency":
            assert self.min_accuracy is not None
            return tier.fastest_reaching(self.min_accuracy)
        best = tier.frontier[-1]
        if self.budget_ms is not None:
            within = tier.most_accurate_within(self.budget_ms)
            if within is None:
                return None
            best = within
        return best if self.admits(best) else None


def select(
    candidates: Candidates, constraints: Constraints, *, max_resolution: int | None = None
) -> Selection:
    """The subnet that answers: see 'What selection means' in the documentation.

    `max_resolution` bounds the resolution in pixels (a raw tensor is never enlarged). Raises
    `NoSubnet` naming the nearest that exists.
    """
    tier = candidates.tier(max_resolution)
    goal = Goal.of(constraints, candidates.default_budget_ms)
    best = goal.best(tier)
    if best is None:
        raise NoSubnet(_nearest(tier, goal, candidates.device_class))
    return Selection(best.subnet, best.accuracy, best.latency_ms, degraded=False)


def _frontier(fastest_first: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Those that nothing beats in both latency and accuracy: accuracy strictly rises."""
    frontier: list[Candidate] = []
    for candidate in fastest_first:
        if not frontier or candidate.accuracy > frontier[-1].accuracy:
            frontier.append(candidate)
    return tuple(frontier)


def _nearest(tier: Tier, goal: Goal, device_class: str) -> str:
    """Why nothing fits, and the nearest that exists."""
    fastest, most_accurate = tier.frontier[0], tier.frontier[-1]
    if goal.budget_ms is not None and fastest.latency_ms > goal.budget_ms:
        return (
            f"no subnet takes at most {goal.budget_ms:g} ms on {device_class!r}; "
            f"the fastest is {fastest.described}"
        )
    assert goal.min_accuracy is not None
    reaching = tier.fastest_reaching(goal.min_accuracy)
    if reaching is None:
        return (
            f"no subnet reaches accuracy {goal.min_accuracy:g} on {device_class!r}; "
            f"the most accurate is {most_accurate.described}"
        )
    assert goal.budget_ms is not None
    return (
        f"no subnet reaches accuracy {goal.min_accuracy:g} within {goal.budget_ms:g} ms on "
        f"{device_class!r}; the fastest that reaches it is {reaching.described}"
    )
