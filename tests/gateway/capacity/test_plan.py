"""The fewest replicas that hold, and one line where there are none."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from gateway.capacity.plan import plan
from gateway.capacity.traffic import Poisson, Recorded, Times, Traffic
from tests.gateway.capacity.made_up import ONLY_LARGE, replica

FEW = Poisson(1000)


def test_little_traffic_needs_one() -> None:
    found = plan(replica(), FEW, 5.0, 0.999)
    assert found.replicas == 1
    assert [row.replicas for row in found.rows] == [1, 2]
    assert found.rows[0].outcome.attainment >= 0.999


@pytest.mark.parametrize("rate", [300.0, 2000.0])
def test_as_many_hold_and_one_fewer_does_not(rate: float) -> None:
    found = plan(replica(), FEW, rate, 0.99)
    fewer, needed, more = found.rows
    assert [fewer.replicas, needed.replicas, more.replicas] == [
        found.replicas - 1, found.replicas, found.replicas + 1
    ]  # fmt: skip
    assert fewer.outcome.attainment < 0.99 <= needed.outcome.attainment
    assert needed.rate_each * needed.replicas == pytest.approx(rate)
    assert more.outcome.accuracy >= needed.outcome.accuracy - 1e-6, "the late ones' is not in it"


def test_a_replica_carries_less_than_a_worker_that_never_waits() -> None:
    one = plan(replica(ONLY_LARGE), FEW, 1.0, 0.99)
    two = plan(replica(ONLY_LARGE, workers=2), FEW, 1.0, 0.99)
    assert 0.4 * 50 < one.capacity < 50
    assert 2 * one.capacity < two.capacity < 100, "two share one queue"


def test_bursts_need_more_than_the_mean_says() -> None:
    bursts = Recorded(np.concatenate([10.0 * k + np.linspace(0, 0.5, 50) for k in range(20)]))
    assert (
        plan(replica(), bursts, 100.0, 0.99).replicas > plan(replica(), FEW, 100.0, 0.99).replicas
    )


def recorded(count: int) -> Recorded:
    gaps = np.random.default_rng(1).exponential(1.0, count)
    return Recorded(np.cumsum(gaps) - gaps[0])


def test_a_recording_that_is_over_at_once_says_nothing() -> None:
    with pytest.raises(ValueError, match=r"^arrivals: expected at least 2000, .*; got 5$"):
        plan(replica(), recorded(5), 1000.0, 0.999)
    with pytest.raises(ValueError, match="expected at least 2000"):
        plan(replica(), recorded(1999), 1000.0, 0.999)
    assert plan(replica(), recorded(2000), 1000.0, 0.999).replicas > 1000 / 200


@pytest.mark.parametrize(
    "rate", [110.0, 205.0, *(pytest.param(r, marks=pytest.mark.slow) for r in (148.0, 400.0))]
)
@pytest.mark.parametrize(
    ("traffic", "deadline_ms"),
    [(FEW, 100.0), (Poisson(100), 1000.0), (recorded(1000), 100.0)],
)
def test_one_is_enough_for_as_much_as_one_carries(
    traffic: Traffic, deadline_ms: float, rate: float
) -> None:
    found = plan(replica(deadline_ms=deadline_ms), traffic, rate, 0.99)
    assert (found.replicas == 1) == (found.capacity >= rate)
    assert found.capacity <= 200 / 0.99, "5 ms each, and a hundredth may be late"


@dataclass(frozen=True)
class Whimsical:
    """One at a time, slowly, or all of many at once: what happens at `rate` happens at no other."""

    rate: float
    is_slow_there: bool

    def fastest(self, least_ms: float) -> float:  # noqa: ARG002
        return math.inf

    def shares(self, rate: float, replicas: int, least_ms: float = 0.0) -> Iterator[Times]:  # noqa: ARG002
        slow = (rate / replicas == self.rate) == self.is_slow_there
        yield np.linspace(0.0, 49_000.0 if slow else 0.0, 50, dtype=np.float64)


@pytest.mark.parametrize("is_slow_there", [True, False])
def test_however_little_one_rate_says_of_the_next_rows_and_capacity_agree(
    is_slow_there: bool,
) -> None:
    found = plan(replica(), Whimsical(150.0, is_slow_there), 150.0, 0.99)
    assert (found.replicas == 1) == (found.capacity >= 150.0) == is_slow_there


def test_few_random_requests_are_not_all_there_is_to_a_long_deadline() -> None:
    found = plan(replica(deadline_ms=1000.0), Poisson(1), 1.0, 0.99)
    assert 100 < found.capacity < 200 / 0.99, "all that come within one deadline are in time"


def test_a_deadline_that_nothing_holds() -> None:
    with pytest.raises(ValueError, match=r"deadline of 4 ms: .* takes 5\.0 ms"):
        plan(replica(deadline_ms=4.0), FEW, 10.0, 0.99)


def test_more_replicas_than_anyone_has() -> None:
    with pytest.raises(ValueError, match="rate 1e\\+09: more than 10000 replicas"):
        plan(replica(), FEW, 1e9, 0.99)
