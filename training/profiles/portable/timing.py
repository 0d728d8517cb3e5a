"""How long a net takes, whatever else runs on the machine.

A *timer* runs a net once and returns how many milliseconds that took. What it runs, and on what,
is not known here.
"""

from __future__ import annotations

import math
import statistics
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    Timer = Callable[[], float]
    Advance = Callable[[float], None]
    """Called with the share of a net that is done."""

Net = TypeVar("Net")
VISITS = 3
"""How often each net's turn comes: a slow minute falls on a third of its runs at most."""
WINDOW, WINDOWS, STEADY = 5, 12, 0.05
"""Warm-up: runs to a window, most windows, and how near two medians in a row have to be."""
FAR = 5.0
"""Times so many standard deviations from the median are not the net's doing."""


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
        self._clean: list[float] = []
        self._disturbed: list[float] = []
        self._steady: bool | None = None

    def visit(self, timer: Timer, runs: int) -> None:
        """Warm up, the first time until times are steady; then run until `runs` were left alone,
        three times as often at most. A single run finds the machine as another net left it."""
        if self._steady is None:
            self._steady = _warmed_up(timer)
        else:
            for _ in range(min(WINDOW, runs - 1)):
                timer()
        wanted = len(self._clean) + runs
        for _ in range(3 * runs):
            before = _interruptions()
            ms = timer()
            (self._clean if _interruptions() == before else self._disturbed).append(ms)
            if len(self._clean) == wanted:
                return

    def timing(self) -> Timing:
        """What is left once interference is discarded.

        Interference is an involuntary context switch during a run, which the system counts, and a
        time further than `FAR` robust standard deviations (from the median absolute deviation)
        from the median. Where interruptions are the rule they belong to the machine, and stay.
        """
        total = len(self._clean) + len(self._disturbed)
        times = self._clean if 2 * len(self._clean) >= total else self._clean + self._disturbed
        middle = statistics.median(times)
        deviation = 1.4826 * statistics.median(abs(ms - middle) for ms in times)
        reach = FAR * max(deviation, 0.01 * middle)  # a coarse clock may not deviate at all
        kept = sorted(ms for ms in times if abs(ms - middle) <= reach)
        return Timing(
            median_ms=statistics.median(kept),
            p95_ms=kept[math.ceil(0.95 * len(kept)) - 1],
            std_ms=statistics.pstdev(kept),
            runs=len(kept),
            discarded=total - len(kept),
            steady=bool(self._steady),
        )


def take_turns(
    groups: Sequence[Group],
    make_timer: Callable[[Net], Timer],
    runs: int,
    advance: Advance | None = None,
) -> dict[Net, Timing]:
    """Time the nets of all groups about `runs` times each, in `VISITS` rounds."""
    each = max(1, math.ceil(runs / VISITS))
    samples = {net: Samples() for group in groups for net in group.nets}
    for _ in range(VISITS):
        for group in groups:
            make = _kept(make_timer) if group.run_by_run else make_timer
            bursts = [1] * each if group.run_by_run else [each]
            for burst in bursts:
                for net in _interleaved(group.nets):
                    samples[net].visit(make(net), burst)
                    if advance is not None:
                        advance(1 / (VISITS * len(bursts)))
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
    stride = next(s for s in range(37, 38 + len(nets)) if math.gcd(s, len(nets)) == 1)
    return (nets[i * stride % len(nets)] for i in range(len(nets)))


if sys.platform == "win32":

    def _interruptions() -> int:
        """This system does not count them."""
        return 0

else:
    import resource

    def _interruptions() -> int:
        """How often the system has taken a CPU from this process so far."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
