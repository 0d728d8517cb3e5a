"""How long a net takes, whatever else runs on the machine.

A *timer* runs a net once and returns how many milliseconds that took. What it runs, and on what,
is not known here.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    Timer = Callable[[], float]
    Advance = Callable[[float], None]
    """Called with the share of a net that is done."""

Net = TypeVar("Net")
VISITS, MOST_VISITS = 5, 15
"""How often each net's turn comes, so that a slow minute falls on few of its runs; and how often
at most, where more than half of them were interfered with."""
WINDOW, WINDOWS, STEADY = 5, 12, 0.05
"""Warm-up: runs to a window, most windows, and how near two medians in a row have to be."""
LEAD = 3
"""Runs that a later turn begins with and that do not count."""
REACH, LEAST_REACH_MS = 0.15, 0.01
"""Interference slows runs, and hardly ever all of them. So the tenth percentile is a net's own
doing, and what is further from it than this share, and this time, is not."""


@dataclass(frozen=True)
class Timing:
    """Of `runs` runs, in ms. `discarded` more were interfered with; `steady` says whether the
    warm-up came to rest."""

    median_ms: float
    p95_ms: float
    std_ms: float
    runs: int
    discarded: int
    steady: bool


@dataclass(frozen=True)
class Group:
    """Nets that take turns: after some runs in a row, or `run_by_run`, so that each finds the
    caches as another has left them."""

    nets: Sequence[Any]
    run_by_run: bool = False


class Samples:
    """The runs of one net, gathered over several visits."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._steady: bool | None = None

    def visit(self, timer: Timer, runs: int) -> None:
        """Warm up, the first time until times are steady, and run. A single run is not led up to:
        it finds the machine as another net has left it."""
        if self._steady is None:
            self._steady = _warmed_up(timer)
        elif runs > 1:
            for _ in range(LEAD):
                timer()
        self._times += [timer() for _ in range(runs)]

    @property
    def disturbed(self) -> bool:
        """Whether most runs so far were interfered with."""
        return 2 * len(self._kept()) < len(self._times)

    def timing(self) -> Timing:
        kept = self._kept()
        return Timing(
            median_ms=statistics.median(kept),
            p95_ms=kept[math.ceil(0.95 * len(kept)) - 1],
            std_ms=statistics.pstdev(kept),
            runs=len(kept),
            discarded=len(self._times) - len(kept),
            steady=bool(self._steady),
        )

    def _kept(self) -> list[float]:
        """The runs that were left alone, fastest first."""
        in_order = sorted(self._times)
        own = in_order[len(in_order) // 10]
        reach = max(REACH * own, LEAST_REACH_MS)
        return [ms for ms in in_order if abs(ms - own) <= reach]


def take_turns(
    groups: Sequence[Group],
    make_timer: Callable[[Net], Timer],
    runs: int,
    advance: Advance | None = None,
) -> dict[Net, Timing]:
    """Time the nets of all groups about `runs` times each, in `VISITS` rounds or a few more."""
    each = max(1, math.ceil(runs / VISITS))
    samples = {net: Samples() for group in groups for net in group.nets}
    for turn in range(MOST_VISITS):
        share = 1 / VISITS if turn < VISITS else 0.0
        for group in groups:
            nets = [net for net in group.nets if turn < VISITS or samples[net].disturbed]
            make = _kept(make_timer) if group.run_by_run else make_timer
            bursts = [1] * each if group.run_by_run else [each]
            for burst in bursts:
                for net in _interleaved(nets):
                    samples[net].visit(make(net), burst)
                    if advance is not None:
                        advance(share / len(bursts))
    return {net: gathered.timing() for net, gathered in samples.items()}


def _kept(make_timer: Callable[[Net], Timer]) -> Callable[[Net], Timer]:
    """Timers made once, and run once, as what is new allocates first."""
    timers: dict[Net, Timer] = {}

    def make(net: Net) -> Timer:
        if net not in timers:
            timers[net] = make_timer(net)
            timers[net]()
        return timers[net]

    return make


def _warmed_up(timer: Timer) -> bool:
    """Run until the medians of two windows in a row agree; False where they never do."""
    before = math.inf
    for _ in range(WINDOWS):
        now = statistics.median(timer() for _ in range(WINDOW))
        if abs(now - before) <= STEADY * now:
            return True
        before = now
    return False


def _interleaved(nets: Sequence[Net]) -> Iterator[Net]:
    """All of them, in steps of a stride that is coprime to their number."""
    if not nets:
        return iter(())
    stride = next(s for s in range(37, 38 + len(nets)) if math.gcd(s, len(nets)) == 1)
    return (nets[i * stride % len(nets)] for i in range(len(nets)))
