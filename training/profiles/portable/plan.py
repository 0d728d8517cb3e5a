"""What to measure, and what follows from it: every subnet, or the parts that subnets share.

All that is known of a net is its resolution and the names of its parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .check import Check
from .timing import Group, take_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .timing import Advance, Timer, Timing

    Net = tuple[int, tuple[str, ...]]
    """A chain of parts at a resolution: one part alone, or all of a subnet's."""
    MakeTimer = Callable[[Net], Timer]


@dataclass(frozen=True)
class Plan:
    """Every subnet is timed, or each part and a few whole subnets.

    `subnets` by id, each with its parts. In the second case `fitted` has ids of those that the
    sum of parts is corrected by, and `held_out` of those that it is checked on.
    """

    subnets: dict[str, Net]
    fitted: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()

    @property
    def by(self) -> str:
        return "piece" if self.fitted else "subnet"

    @property
    def resolutions(self) -> list[int]:
        return sorted({resolution for resolution, _ in self.subnets.values()})

    @property
    def groups(self) -> list[Group]:
        """The nets to time. Parts take turns run by run: within a subnet, too, a part finds the
        caches as another has left them."""
        if not self.fitted:
            return [Group(list(dict.fromkeys(self.subnets.values())))]
        return [group for resolution in self.resolutions for group in self._groups(resolution)]

    @property
    def size(self) -> int:
        """How many nets are timed."""
        return sum(len(group.nets) for group in self.groups)

    def _groups(self, resolution: int) -> list[Group]:
        parts = (part for r, parts in self.subnets.values() if r == resolution for part in parts)
        whole = (self.subnets[subnet] for subnet in self.fitted + self.held_out)
        return [
            Group([(resolution, (part,)) for part in dict.fromkeys(parts)], run_by_run=True),
            Group([net for net in whole if net[0] == resolution]),
        ]


@dataclass(frozen=True)
class Measured:
    """Milliseconds by subnet id, and in words what they depend on. `check` is there where the
    latencies are corrected sums."""

    latency_ms: dict[str, float]
    p95_ms: dict[str, float]
    std_ms: dict[str, float]
    conditions: dict[str, str]
    check: Check | None = None


def measure(
    plan: Plan, make_timer: MakeTimer, runs: int, advance: Advance | None = None
) -> Measured:
    """Carry out a plan; every net is run about `runs` times."""
    timings = take_turns(plan.groups, make_timer, runs, advance)
    conditions = {"by": plan.by, "runs": str(runs), **_interference(timings.values())}
    if plan.fitted:
        return _summed(plan, timings, conditions)
    each = {subnet: timings[net] for subnet, net in plan.subnets.items()}
    return Measured(
        latency_ms={subnet: round(t.median_ms, 4) for subnet, t in each.items()},
        p95_ms={subnet: round(t.p95_ms, 4) for subnet, t in each.items()},
        std_ms={subnet: round(t.std_ms, 4) for subnet, t in each.items()},
        conditions=conditions,
    )


def _interference(timings: Iterable[Timing]) -> dict[str, str]:
    found = list(timings)
    discarded, runs = sum(t.discarded for t in found), sum(t.runs for t in found)
    conditions = {"discarded": f"{discarded} of {discarded + runs} runs"}
    unsteady = sum(not t.steady for t in found)
    if unsteady:
        conditions["unsteady"] = f"{unsteady} of {len(found)} never came to rest in warming up"
    return conditions


def _summed(plan: Plan, timings: dict[Net, Timing], conditions: dict[str, str]) -> Measured:
    """Latencies as sums of parts, corrected at each resolution by a + b x sum."""

    def whole(subnets: Sequence[str]) -> list[float]:
        return [timings[plan.subnets[subnet]].median_ms for subnet in subnets]

    sums = {
        subnet: sum(timings[resolution, (part,)].median_ms for part in parts)
        for subnet, (resolution, parts) in plan.subnets.items()
    }
    lines = {}
    for resolution in plan.resolutions:
        own = [subnet for subnet in plan.fitted if plan.subnets[subnet][0] == resolution]
        lines[resolution] = fitted_line([sums[subnet] for subnet in own], whole(own))
    latency_ms = {}
    for subnet, (resolution, _) in plan.subnets.items():
        intercept, slope = lines[resolution]
        latency_ms[subnet] = round(intercept + slope * sums[subnet], 4)
    check = Check.of([latency_ms[subnet] for subnet in plan.held_out], whole(plan.held_out))
    return Measured(latency_ms, {}, {}, {**conditions, "held_out": str(check)}, check)


def fitted_line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Intercept and slope that have the least squares of relative error."""
    import numpy as np

    scale = 1 / np.asarray(y)
    rows = np.column_stack([scale, np.asarray(x) * scale])
    intercept, slope = np.linalg.lstsq(rows, np.ones(len(scale)), rcond=None)[0]
    return float(intercept), float(slope)
