"""How much work comes in."""

import pytest

from gateway.scheduling.arrivals import MEMORY_MS, Arrivals


def test_nothing_has_come() -> None:
    assert Arrivals().rate(5.0) == 0.0


def test_steady_work_has_its_rate() -> None:
    arrivals = Arrivals()
    for n in range(1000):
        arrivals.add(2.0, 4.0 * n)
    assert arrivals.rate(4.0 * 999) == pytest.approx(0.5, rel=0.05)


def test_one_alone_is_no_rate() -> None:
    arrivals = Arrivals()
    for n in range(3):
        arrivals.add(500.0, n * 10 * MEMORY_MS)
        assert arrivals.rate(n * 10 * MEMORY_MS) < 1e-3


def test_what_is_long_past_does_not_count() -> None:
    arrivals = Arrivals()
    arrivals.add(50.0, 0.0)
    arrivals.add(50.0, 0.0)
    assert arrivals.rate(0.0) == pytest.approx(50.0 / MEMORY_MS)
    assert arrivals.rate(10 * MEMORY_MS) < 1e-4
