"""Which waiting requests run next, together, and through which subnet: pure, from values alone.

In the spirit of SlackFit (Khare et al., SuperServe, NSDI 2025), which takes the slowest (subnet,
batch) that fits the slack of the most urgent request. Here the batch is everyone who may share the
subnet, and what has to fit is the batch, then all others at their cheapest, then those who are
expected to come, and of a burst what a dear subnet cannot keep up with.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from gateway.scheduling.ladder import Ladder
from gateway.select import Candidate

SUSTAINED = 0.5
BURST_MS = 200.0
"""For how long a burst is taken to last, where a subnet is too dear for it."""

CostMs = Callable[[str, int], float]
"""Expected engine milliseconds of a subnet for so many images."""


class Waiting(Protocol):
    """A request that waits: images, arrival and deadline in the clock's milliseconds, what it may
    get, and what it costs at least, in a batch through its cheapest subnet."""

    @property
    def rows(self) -> int: ...

    @property
    def arrived_ms(self) -> float: ...

    @property
    def until_ms(self) -> float: ...

    @property
    def ladder(self) -> Ladder: ...

    @property
    def least_ms(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Batch:
    """What runs next: the subnet, and the places in the queue of those who share it."""

    subnet: str
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """What a decision takes into account besides the queue.

    `workers` share it; `margin` is the factor by which a run may exceed its expectation. What has
    been coming in would take the share `busy` of the workers' time at its cheapest, and is expected
    to go on for `window_ms`. A batch may take `extra`, of its first's whole time, longer than
    through the cheapest subnet; `margin` is `care` times as large where it takes another.
    """

    workers: int
    max_rows: int
    margin: float
    busy: float = 0.0
    window_ms: float = 0.0
    extra: float = math.inf
    care: float = 1.0

    def reserve_ms(self, times: float) -> float:
        """Of each worker's time, for what comes, where all of it costs so many times the cheapest:
        what the window brings at its cheapest, and what piles up in a burst beyond half of the
        workers' time. They do not have the cores to themselves."""
        piling_up = max(0.0, self.busy * times - SUSTAINED)
        return self.busy * self.window_ms + BURST_MS * piling_up


def next_batch(queue: Sequence[Waiting], now_ms: float, cost_ms: CostMs, load: Load) -> Batch:
    """What a free worker runs: the first of the queue, which is sorted by deadline and not empty,
    and whoever may share its subnet.

    The best subnet of the first request with which all deadlines hold, those below one that holds
    taken to hold as well; the cheapest where only work still to come is in the way. Where some of
    those who wait cannot be saved, the most that can be in one batch. That may leave out the first:
    what little time they have left would make every batch small, and all late.
    """
    rungs = queue[0].ladder.rungs
    last = len(rungs) - 1
    dear = replace(load, margin=load.margin * load.care)

    def sharing(step: int) -> tuple[int, ...]:
        pressure, like = step / max(1, last), load if step == last else dear
        return _sharing(queue, 0, rungs[step], pressure, now_ms, cost_ms, like)

    def holds(step: int) -> bool:
        return _holds(queue, rungs[step], sharing(step), now_ms, cost_ms, dear)

    step = bisect_left(range(last), True, key=holds)
    if step == last and not _holds(
        queue, rungs[last], sharing(last), now_ms, cost_ms, replace(load, busy=0.0)
    ):
        return _most(queue, now_ms, cost_ms, load)
    return Batch(rungs[step].subnet, sharing(step))


def overdue_batch(queue: Sequence[Waiting], cost_ms: CostMs, load: Load) -> Batch:
    """The first, which has no deadline and whose patience is over, with all who may share its
    cheapest subnet: the sooner the crowd is gone the better for everybody."""
    rung = queue[0].ladder.cheapest
    return Batch(rung.subnet, _sharing(queue, 0, rung, 1.0, -math.inf, cost_ms, load))


def _most(queue: Sequence[Waiting], now_ms: float, cost_ms: CostMs, load: Load) -> Batch:
    """The largest batch that ends in time for all in it, through the cheapest subnet of its first;
    of equals the one that begins first. Left out are only those who have waited for more than half
    of their time, so that none that is just in a hurry has to pay for a crowd."""
    is_overdue = queue[0].until_ms < now_ms
    alone = Batch(queue[0].ladder.cheapest.subnet, (0,))
    most, rows = overdue_batch(queue, cost_ms, load) if is_overdue else alone, 0
    for first, begins in enumerate(queue):
        rung = begins.ladder.cheapest
        left_ms = begins.until_ms - now_ms
        fresh = left_ms > (begins.until_ms - begins.arrived_ms) / 2
        if load.margin * cost_ms(rung.subnet, begins.rows) > left_ms:
            continue
        places = _sharing(queue, first, rung, 1.0, now_ms, cost_ms, load)
        together = sum(queue[place].rows for place in places)
        if together > rows:
            most, rows = Batch(rung.subnet, places), together
        if places[-1] == len(queue) - 1 or rows >= load.max_rows or fresh:
            break  # whoever begins later has fewer behind it
    return most


def _sharing(
    queue: Sequence[Waiting],
    first: int,
    rung: Candidate,
    pressure: float,
    now_ms: float,
    cost_ms: CostMs,
    load: Load,
) -> tuple[int, ...]:
    """Those who run with the first and come after it: they accept its subnet, and it does not come
    too late for them or for the first with them."""
    places, rows = [first], queue[first].rows
    left_ms = (queue[first].until_ms - now_ms) / load.margin
    for place in range(first + 1, len(queue)):
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
    takes_ms = cost_ms(rung.subnet, rows)
    ends_ms = now_ms + load.margin * takes_ms
    cheapest = queue[0].ladder.cheapest.subnet
    extra_ms = takes_ms - cost_ms(cheapest, rows)
    if extra_ms > load.extra * (queue[0].until_ms - queue[0].arrived_ms):
        return False
    times = cost_ms(rung.subnet, load.max_rows) / cost_ms(cheapest, load.max_rows)
    reserve_ms = load.reserve_ms(times)
    if ends_ms + reserve_ms > queue[0].until_ms:
        return False
    work_ms = ends_ms - now_ms + reserve_ms
    for place, other in enumerate(queue):
        if place not in taken:
            work_ms += load.margin * other.least_ms
            if now_ms + work_ms / load.workers > other.until_ms:
                return False
    return True
