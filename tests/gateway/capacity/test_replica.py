"""What becomes of requests, where what runs take is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.capacity.replica import Handling, Outcome
from gateway.capacity.traffic import Times
from tests.gateway.capacity.made_up import BOTH, LARGE, ONLY_LARGE, SMALL, replica

arrivals = st.lists(st.floats(0, 2000), max_size=60).map(lambda times: np.sort(np.array(times)))


def at(count: int, gap_ms: float) -> Times:
    """As many arrivals, as far apart."""
    return np.linspace(0.0, gap_ms * (count - 1), count, dtype=np.float64)


def test_who_comes_alone_gets_the_best() -> None:
    found = replica().simulate(at(10, 1000.0))
    assert (found.requests, found.in_time) == (10, 10)
    assert found.accuracy == pytest.approx(LARGE.accuracy)
    assert found.busy == pytest.approx(10 * 20 / 9020), "20 ms each, the last from 9,000 on"


def test_who_comes_once_an_hour_is_no_less_in_time() -> None:
    slow = replace(replica(), handling=Handling(1.1, 0.7, 0.3))
    assert slow.simulate(at(300, 3_600_001.3)).attainment == 1.0


def test_who_comes_alone_is_in_time_however_long_runs_happen_to_take() -> None:
    noisy = replace(replica(), deadline_ms=31.0, noise=0.2)  # the large one takes 20 ms
    found = noisy.simulate(at(2000, 1000.0))
    assert found.attainment >= 0.999, "1.55 times as long takes one run in seventy"


def test_many_get_smaller_subnets_before_anyone_is_turned_away() -> None:
    found = replica().simulate(at(500, 7.0))  # the large one takes 20 ms
    assert found.attainment == 1.0
    assert SMALL.accuracy <= found.accuracy < (SMALL.accuracy + LARGE.accuracy) / 2


def test_who_accepts_only_the_large_one_is_turned_away() -> None:
    found = replica(ONLY_LARGE).simulate(at(500, 10.0))
    assert found.attainment == pytest.approx(0.5, abs=0.05), "twice what a worker can do"
    assert found.accuracy == pytest.approx(LARGE.accuracy)


def test_two_workers_do_twice_as_much() -> None:
    found = replica(ONLY_LARGE, workers=2).simulate(at(500, 10.5))
    assert found.attainment == 1.0


def test_a_loop_on_the_same_core_takes_its_part_of_it() -> None:
    alone, shared = (
        replace(replica(ONLY_LARGE), handling=Handling(loop_ms=5.0), cores=cores)
        for cores in (2, 1)
    )
    arrivals = at(500, 22.0)  # 20 ms each, and 5 of the loop
    assert alone.simulate(arrivals).attainment == 1.0
    assert shared.simulate(arrivals).attainment < 0.95


def test_a_client_that_is_late_with_its_answer_has_none() -> None:
    slow = replace(replica(), handling=Handling(client_ms=180.0))
    found = slow.simulate(at(5, 1000.0))
    assert (found.requests, found.in_time) == (5, 0), "90 ms before and 90 after, of 100"


def test_what_is_not_counted_has_happened_all_the_same() -> None:
    arrivals = at(500, 10.0)
    every, late = (replica(ONLY_LARGE).simulate(arrivals, uncounted=n) for n in (0, 400))
    assert (every.requests, late.requests) == (500, 100)
    assert late.attainment == pytest.approx(0.5, abs=0.05)


def test_a_deadline_that_no_run_meets() -> None:
    found = replica(deadline_ms=4.0).simulate(at(5, 100.0))
    assert (found.requests, found.in_time, found.accuracy) == (5, 0, 0.0)


def test_nobody_comes() -> None:
    assert replica().simulate(np.array([])) == Outcome()
    assert Outcome().attainment == 1.0


@given(arrivals, st.integers(1, 3), st.floats(1, 300), st.integers(1, 40))
def test_nothing_comes_from_nowhere(
    times: Times, workers: int, deadline_ms: float, max_pending: int
) -> None:
    found = replica(
        BOTH, ONLY_LARGE, workers=workers, deadline_ms=deadline_ms, max_pending=max_pending
    ).simulate(times)
    assert found.requests == len(times)
    assert 0 <= found.in_time <= found.requests
    assert 0 <= found.busy <= 1 + 1e-9
    if found.in_time:
        assert SMALL.accuracy - 1e-9 <= found.accuracy <= LARGE.accuracy + 1e-9
        assert found.busy_ms >= 5.0 * found.in_time - 1e-6, "nothing is cheaper"
