"""What interference does to a timing, and what it does not."""

from __future__ import annotations

import itertools
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.profiles.portable.timing import VISITS, Group, Samples, Timing, take_turns


def playing(times: Iterable[float]) -> Callable[[], float]:
    """A timer that takes what it is told, one after another."""
    remaining = iter(times)
    return lambda: next(remaining)


def timed(times: Iterable[float], runs: int) -> Timing:
    samples = Samples()
    samples.visit(playing(times), runs)
    return samples.timing()


STEADY = [1.0] * 10  # what the warm-up takes of a net that is steady from the start


def test_runs_that_are_far_off_are_left_out_and_counted() -> None:
    times = [1.0, 1.01, 1.02, 1.01, 1.0, 9.0, 1.02, 1.16, 0.1, 1.01, *[1.0] * 10]
    found = timed([*STEADY, *times], 20)
    kept = [ms for ms in times if 0.5 < ms < 1.15]
    assert (found.runs, found.discarded) == (17, 3)
    assert found.median_ms == statistics.median(kept)
    assert found.p95_ms == 1.02
    assert found.std_ms == pytest.approx(statistics.pstdev(kept))
    assert found.steady


@given(
    clean=st.lists(st.floats(1.0, 1.1), min_size=10, max_size=40),
    slow=st.lists(st.floats(1.3, 1e6), max_size=60),
    seed=st.randoms(use_true_random=False),
)
def test_what_slows_some_of_the_runs_does_not_move_the_median_out_of_the_others(
    clean: list[float], slow: list[float], seed: random.Random
) -> None:
    """Even where it slows most of them."""
    times = clean + slow
    seed.shuffle(times)
    found = timed([*STEADY, *times], len(times))
    assert min(clean) <= found.median_ms <= found.p95_ms <= max(clean)
    assert (found.runs, found.discarded) == (len(clean), len(slow))


def test_a_few_microseconds_are_not_interference() -> None:
    found = timed([*[0.02] * 10, *[0.02, 0.029] * 10], 20)
    assert (found.runs, found.discarded) == (20, 0)


def test_a_net_that_was_disturbed_gets_more_turns() -> None:
    taken: Counter[str] = Counter()

    def make_timer(net: str) -> Callable[[], float]:
        def run() -> float:
            taken[net] += 1
            busy = net == "busy" and (taken[net] % 4 or taken[net] < 12)
            return 5.0 if busy else 1.0

        return run

    found = take_turns([Group(["calm", "busy"])], make_timer, 10)
    assert found["calm"].runs == 10
    assert taken["busy"] > 2 * taken["calm"]
    assert found["busy"].median_ms == 1.0
    assert found["busy"].discarded > found["busy"].runs


def test_equal_times_of_a_coarse_clock_are_all_kept() -> None:
    found = timed([2.0] * 30, 20)
    assert (found.median_ms, found.std_ms, found.runs, found.discarded) == (2.0, 0.0, 20, 0)


def test_warming_up_goes_on_until_two_windows_agree() -> None:
    falling = [float(ms) for ms in range(30, 5, -1)]
    found = timed([*falling, *[5.0] * 30], 10)
    assert (found.median_ms, found.runs, found.discarded, found.steady) == (5.0, 10, 0, True)


def test_what_never_comes_to_rest_is_told_and_timed_all_the_same() -> None:
    found = timed(itertools.chain.from_iterable([[ms] * 5 for ms in (1, 2) * 50]), 10)
    assert not found.steady
    assert found.runs + found.discarded == 10


def test_a_timer_of_real_time() -> None:
    def sleep() -> float:
        start = time.perf_counter()
        time.sleep(0.002)
        return (time.perf_counter() - start) * 1e3

    samples = Samples()
    samples.visit(sleep, 5)
    found = samples.timing()
    assert 2.0 <= found.median_ms < 50.0
    assert found.std_ms >= 0.0


@pytest.mark.parametrize("run_by_run", [False, True])
def test_every_net_has_its_turns(run_by_run: bool) -> None:
    made: Counter[str] = Counter()
    order: list[str] = []
    done: list[float] = []

    def make_timer(net: str) -> Callable[[], float]:
        made[net] += 1

        def run() -> float:
            order.append(net)
            return {"a": 1.0, "b": 2.0, "c": 3.0}[net]

        return run

    found = take_turns([Group("abc", run_by_run)], make_timer, 10, done.append)
    assert {net: t.median_ms for net, t in found.items()} == {"a": 1.0, "b": 2.0, "c": 3.0}
    assert {t.runs for t in found.values()} == {10}
    assert sum(done) == pytest.approx(3)
    assert made == dict.fromkeys("abc", VISITS)
    lengths = [len(list(turn)) for _, turn in itertools.groupby(order[-6:])]
    assert lengths[-1] == (1 if run_by_run else 5)
