"""Expected times: measured at the start, corrected by what runs take."""

import pytest

from gateway.engine_times import EngineTimes
from gateway.engines.costs import Line


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def times(clock: Clock) -> EngineTimes:
    return EngineTimes({"small": Line(1.0, 1.0), "large": Line(2.0, 4.0)}.__getitem__, clock)


def test_expects_what_was_measured_at_the_start(times: EngineTimes) -> None:
    assert times.expected_ms("large", 2) == 10.0


def test_a_slow_run_slows_that_subnet_at_every_batch(times: EngineTimes) -> None:
    assert times.expected_ms("small", 1) == 2.0
    times.record("small", 1, 4.0)
    assert times.expected_ms("small", 3) == 4.0 * 1.5, "half of what it was slower by"


def test_what_did_not_run_is_slowed_with_the_rest(times: EngineTimes) -> None:
    times.record("small", 1, 6.0)
    assert times.expected_ms("large", 1) == 6.0 * 2


def test_follows_a_change_within_seconds(times: EngineTimes, clock: Clock) -> None:
    for _ in range(20):
        times.record("small", 1, 2.0)
        clock.now += 0.5
    for _ in range(20):
        times.record("small", 1, 6.0)
        clock.now += 0.5
    assert times.expected_ms("small", 1) == pytest.approx(6.0, rel=0.05)


def test_one_slow_run_among_many_counts_little(times: EngineTimes, clock: Clock) -> None:
    for _ in range(50):
        times.record("small", 1, 2.0)
        clock.now += 0.002
    times.record("small", 1, 40.0)
    assert times.expected_ms("small", 1) < 4.0


def test_one_image_that_took_for_ever_shuts_nobody_out(times: EngineTimes) -> None:
    times.record_handling(1, 3000.0)
    assert times.expected_ms("small", 8) < 50.0, "9 ms, had it not been"


def test_a_slow_spell_shuts_nothing_out_for_long(times: EngineTimes, clock: Clock) -> None:
    """What is expected to be late does not run, and could not show that it is fast again."""
    for _ in range(40):
        clock.now += 0.5
        times.record("small", 1, 200.0)
        times.record_handling(1, 100.0)
    assert times.expected_ms("small", 1) > 250
    clock.now += 10
    assert times.expected_ms("small", 1) == pytest.approx(2.0, abs=8.0)
    clock.now += 60
    assert times.expected_ms("small", 1) == pytest.approx(2.0)


def test_what_ran_lately_speaks_for_what_did_not(times: EngineTimes, clock: Clock) -> None:
    times.record("small", 1, 20.0)
    clock.now += 60
    for _ in range(50):
        times.record("large", 1, 12.0)
    assert times.expected_ms("small", 1) == pytest.approx(4.0, rel=0.1)


def test_handling_counts_for_each_image(times: EngineTimes) -> None:
    for _ in range(100):
        times.record_handling(2, 3.0)
    assert times.expected_ms("small", 2) == pytest.approx(3.0 + 3.0, rel=0.01)
