"""Token buckets: laws that hold whatever comes when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.security.rates import Rates


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_passes_and_then_the_rate() -> None:
    clock = Clock()
    rates = Rates(10.0, burst=3, clock=clock)
    assert [rates.take("a") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert rates.take("a") == pytest.approx(0.1)
    assert rates.take("b") == 0.0
    clock.now = 0.1
    assert rates.take("a") == 0.0
    assert rates.take("a") == pytest.approx(0.1)
    clock.now = 100.0
    assert [rates.take("a") > 0 for _ in range(4)] == [False, False, False, True]


def test_without_a_burst_one_second_s_calls_may_come_at_once() -> None:
    clock = Clock()
    for rate, at_once in ((5.0, 5), (0.5, 1)):
        rates = Rates(rate, clock=clock)
        assert [rates.take("a") for _ in range(at_once)] == [0.0] * at_once
        assert rates.take("a") == pytest.approx(1 / rate)


@given(
    st.floats(0.5, 50),
    st.integers(1, 10),
    st.lists(st.floats(0, 2), min_size=1, max_size=200),
)
def test_no_more_pass_than_burst_and_rate_allow(
    rate: float, burst: int, pauses: list[float]
) -> None:
    clock = Clock()
    rates, passed = Rates(rate, burst, clock=clock), 0
    for pause in pauses:
        clock.now += pause
        passed += rates.take("a") == 0.0
    assert passed <= burst + rate * clock.now + 1e-6


@given(st.floats(0.5, 50), st.integers(1, 10), st.lists(st.floats(0, 1), max_size=50))
def test_who_waits_as_long_as_is_said_passes(rate: float, burst: int, pauses: list[float]) -> None:
    clock = Clock()
    rates = Rates(rate, burst, clock=clock)
    for pause in pauses:
        clock.now += pause
        if (wait_s := rates.take("a")) > 0:
            assert wait_s <= 1 / rate + 1e-6
            clock.now += wait_s
            assert rates.take("a") == 0.0


def test_callers_that_come_in_their_millions_take_no_more_memory() -> None:
    rates = Rates(1.0, burst=1, clock=Clock(), most=100)
    for number in range(1000):
        assert rates.take(str(number)) == 0.0
    assert len(rates._used_until) == 100
    assert rates.take("999") > 0
