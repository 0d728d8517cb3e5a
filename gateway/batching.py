"""Which waiting requests run next, together, and through which subnet: pure, from values alone.

In the spirit of SlackFit (Khare et al., SuperServe, NSDI 2025), which takes the slowest (subnet,
batch) that fits the slack of the most urgent request. Here the batch is everyone who may share the
subnet, and what has to fit is the batch, then all others at their cheapest, then those who are
expected to come.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.ladder import Ladder
from gateway.select import Candidate

CostMs = Callable[[str, int], float]
"""Expected engine milliseconds of a subnet for so many images."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request that waits: images, deadline in the clock's milliseconds, what it may get."""

    rows: int
    until_ms: float
    ladder: Ladder


@dataclass(frozen=True, slots=True)
class Batch:
    """What runs next: the subnet, and the places in the queue of those who share it."""

    subnet: str
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """What a decision takes into account besides the queue.

    `workers` share it; `margin` is the factor by which a run may exceed its expectation;
    `reserve_ms` is work expected to come within the time that the queue has.
    """

    workers: int
    max_rows: int
    margin: float = 1.3
    reserve_ms: float = 0.0


def next_batch(queue: Sequence[Waiting], now_ms: float, cost_ms: CostMs, load: Load) -> Batch:
    """What a free worker runs: the first of the queue, which is sorted by deadline and not empty,
    and whoever may share its subnet.

    The best subnet of the first request with which all deadlines hold, or the cheapest where none
    does: then as many as it can save.
    """
    first = queue[0]
    steps = max(1, len(first.ladder.rungs) - 1)
    for step, rung in enumerate(first.ladder.rungs):
        places = _sharing(queue, rung, step / steps, now_ms, cost_ms, load)
        if _holds(queue, rung, places, now_ms, cost_ms, load):
            break
    return Batch(rung.subnet, places)


def _sharing(
    queue: Sequence[Waiting],
    rung: Candidate,
    pressure: float,
    now_ms: float,
    cost_ms: CostMs,
    load: Load,
) -> tuple[int, ...]:
    """Those who run with the first: they accept its subnet, and it does not come too late for
    them or for the first with them."""
    places, rows = [0], queue[0].rows
    left_ms = (queue[0].until_ms - now_ms) / load.margin
    for place in range(1, len(queue)):
        other = queue[place]
        together = rows + other.rows
        if together > load.max_rows or not other.ladder.accepts(rung, pressure):
            continue
        if cost_ms(rung.subnet, together) > left_ms:
            break
        places.append(place)
        rows = together
    return tuple(places)


def _holds(
    queue: Sequence[Waiting],
    rung: Candidate,
    places: tuple[int, ...],
    now_ms: float,
    cost_ms: CostMs,
    load: Load,
) -> bool:
    """Whether the batch ends in time for the first, and those left behind can then make theirs,
    each at its cheapest, with the other workers at hand and after the work expected to come."""
    taken = set(places)
    rows = sum(queue[place].rows for place in places)
    ends_ms = now_ms + load.margin * cost_ms(rung.subnet, rows)
    if ends_ms + load.reserve_ms > queue[0].until_ms:
        return False
    work_ms = ends_ms - now_ms + load.reserve_ms
    for place, other in enumerate(queue):
        if place not in taken:
            cheapest = other.ladder.cheapest.subnet
            work_ms += load.margin * cost_ms(cheapest, other.rows)
            if now_ms + work_ms / load.workers > other.until_ms:
                return False
    return True
