"""How many replicas a traffic needs so that its deadlines hold."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

from gateway.capacity.replica import Outcome, Replica
from gateway.capacity.traffic import Traffic

_STEPS = 8  # of a bisection: to a four-hundredth of the range
_LEAST_DEADLINES = 20
"""That traffic is looked at. What still waits at its end is answered after it: of requests that
come for a few deadlines, or for one, any number may be in time."""
MOST_REPLICAS = 10_000


@dataclass(frozen=True, slots=True)
class Row:
    """So many replicas, what comes to each of them in a second, and what becomes of it."""

    replicas: int
    rate_each: float
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Plan:
    """The most that one replica carries in a second with the deadlines held, as far as the traffic
    is long enough to tell, and the replicas that it needs. `rows`: one fewer than needed, as many,
    and one more."""

    capacity: float
    replicas: int
    rows: tuple[Row, ...]


def plan(replica: Replica, traffic: Traffic, rate: float, attainment: float) -> Plan:
    """For `rate` requests a second of which the share `attainment` is to be answered in time.
    Raises `ValueError` where no number of replicas can do it, or the traffic is too short."""
    least_ms = _LEAST_DEADLINES * replica.deadline_ms
    fastest = traffic.fastest(least_ms)
    if rate > fastest:
        raise ValueError(
            f"arrivals: expected at least {math.ceil(rate * least_ms / 1000)}, to last for "
            f"{_LEAST_DEADLINES} deadlines at {rate:g} a second; "
            f"got {round(fastest * least_ms / 1000)}"
        )
    most = _most(replica) / attainment

    @functools.cache  # the search comes by those that are shown
    def row(replicas: int, rate: float = rate) -> Row:
        shares = traffic.shares(rate, replicas, least_ms)
        return Row(replicas, rate / replicas, sum(map(replica.simulate, shares), Outcome()))

    def holds(replicas: int, rate: float = rate) -> bool:
        enough = rate / replicas <= most
        return enough and row(replicas, rate).outcome.attainment >= attainment

    # It begins at `rate`, so that what it finds says the same of one replica as the rows do.
    low, high = (rate, min(most, fastest)) if holds(1) else (0.0, min(rate, most))
    capacity = _highest(low, high, lambda one: holds(1, one))
    if capacity == 0.0:
        raise ValueError(
            f"deadline of {replica.deadline_ms:g} ms: no traffic holds it here; the cheapest "
            f"subnet takes {_alone_ms(replica):.1f} ms"
        )
    if rate > MOST_REPLICAS * capacity:
        raise ValueError(
            f"rate {rate:g}: more than {MOST_REPLICAS} replicas, of {capacity:.0f} requests a "
            "second each"
        )
    needed = _fewest(holds, max(1, math.ceil(rate / capacity)))
    around = range(max(1, needed - 1), needed + 2)
    return Plan(capacity, needed, tuple(map(row, around)))


def _most(replica: Replica) -> float:
    """What workers could do in a second in full batches."""
    least_ms = min(
        replica.least_ms(client.ladder.cheapest.subnet, replica.limits.max_rows)
        for client in replica.clients
    )
    return 1000 * replica.limits.workers * replica.limits.max_rows / least_ms


def _highest(low: float, high: float, holds: Callable[[float], bool]) -> float:
    """The highest rate that holds, from one that does to one that may not."""
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _alone_ms(replica: Replica) -> float:
    return min(replica.least_ms(c.ladder.cheapest.subnet, 1) for c in replica.clients)


def _fewest(holds: Callable[[int], bool], guess: int) -> int:
    """The fewest replicas that hold, from a guess that is not far off."""
    while guess > 1 and holds(guess - 1):
        guess -= 1
    while not holds(guess):
        guess += max(1, guess // 50)
    return guess
