"""What a request may be answered with, from the best down to what is cheapest for the gateway.

`select` says what an idle gateway chooses. Under load a request steps down its ladder: each rung
costs the gateway's own engine less than the one above, and none breaks the caller's constraints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gateway.request import Constraints
from gateway.select import Candidate, Candidates, Goal, Tier, select

STEP = 0.87
"""What a rung costs of the one above, at most. With smaller steps more subnets share the traffic,
and each runs too rarely to be compiled whole, and at shapes that the runtime has not seen yet."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """`rungs` from the best down, each cheaper than those above; `subnets` is all that satisfies
    the request, the rungs among them."""

    rungs: tuple[Candidate, ...]
    subnets: Mapping[str, Candidate]

    @property
    def best(self) -> Candidate:
        return self.rungs[0]

    @property
    def cheapest(self) -> Candidate:
        return self.rungs[-1]

    def at(self, pressure: float) -> Candidate:
        """The rung at a pressure from 0, the best, to 1, the cheapest."""
        return self.rungs[round(pressure * (len(self.rungs) - 1))]

    def accepts(self, candidate: Candidate, pressure: float) -> bool:
        """Whether the request may share a batch that runs `candidate`: it satisfies the request,
        and is no worse than what the request would get by itself at this pressure."""
        own = self.subnets.get(candidate.subnet)
        return own is not None and own.accuracy >= self.at(pressure).accuracy


@dataclass(frozen=True, slots=True)
class Admitted(Mapping[str, Candidate]):
    """What a goal admits of a tier and the engine serves. Looked up and not copied: there are as
    many goals as budgets that callers think of, and each would keep hundreds of subnets."""

    tier: Tier
    goal: Goal
    engine_ms: Mapping[str, float]

    def __getitem__(self, subnet: str) -> Candidate:
        found = self.tier.by_subnet[subnet]
        if subnet in self.engine_ms and self.goal.admits(found):
            return found
        raise KeyError(subnet)

    def __iter__(self) -> Iterator[str]:
        return (subnet for subnet in self.tier.by_subnet if subnet in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def ladder(tier: Tier, goal: Goal, engine_ms: Mapping[str, float]) -> Ladder | None:
    """The ladder of a goal, down to the cheapest; None where nothing satisfies it. `engine_ms` is
    what the gateway's engine takes for one image of each subnet; one that is not there is not
    served."""
    admitted = [
        candidate
        for candidate in tier.by_preference[goal.prefer]
        if candidate.subnet in engine_ms and goal.admits(candidate)
    ]
    if not admitted:
        return None
    cheapest = min(engine_ms[candidate.subnet] for candidate in admitted)
    rungs = [admitted[0]]
    for candidate in admitted:
        ms, above_ms = engine_ms[candidate.subnet], engine_ms[rungs[-1].subnet]
        if ms <= STEP * above_ms or cheapest == ms < above_ms:
            rungs.append(candidate)
    return Ladder(tuple(rungs), Admitted(tier, goal, engine_ms))


def ladder_of(
    candidates: Candidates,
    constraints: Constraints,
    engine_ms: Mapping[str, float],
    max_resolution: int | None = None,
) -> Ladder:
    """The ladder of a request. Raises `NoSubnet` where nothing satisfies its constraints."""
    select(candidates, constraints, max_resolution=max_resolution)
    goal = Goal.of(constraints, candidates.default_budget_ms)
    steps = ladder(candidates.tier(max_resolution), goal, engine_ms)
    assert steps is not None, "what can be selected can be served"
    return steps
