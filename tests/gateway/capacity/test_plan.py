"""The fewest replicas that hold, and one line where there are none."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.capacity.plan import plan
from gateway.capacity.traffic import Poisson, Recorded
from tests.gateway.capacity.made_up import ONLY_LARGE, replica

FEW = Poisson(2000)


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
    assert more.outcome.accuracy >= needed.outcome.accuracy


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


def test_a_deadline_that_nothing_holds() -> None:
    with pytest.raises(ValueError, match=r"deadline of 4 ms: .* takes 5\.0 ms"):
        plan(replica(deadline_ms=4.0), FEW, 10.0, 0.99)


def test_more_replicas_than_anyone_has() -> None:
    with pytest.raises(ValueError, match="rate 1e\\+09: more than 10000 replicas"):
        plan(replica(), FEW, 1e9, 0.99)
