"""What is learned of how far runs exceed what is expected of them."""

from __future__ import annotations

import math
import random

import pytest

from gateway.scheduling.lateness import LEAST, MOST, USUAL, Lateness


def after(ratios: list[float]) -> Lateness:
    lateness = Lateness()
    for ratio in ratios:
        lateness.record(10.0, 10.0 * ratio)
    return lateness


def spread(lateness: Lateness) -> float:
    return math.log(lateness.margin(1.0))


def test_before_anything_has_run_it_is_what_is_usual() -> None:
    assert spread(Lateness()) == pytest.approx(USUAL)
    assert Lateness().margin(2.0) == pytest.approx(math.exp(2.0 * USUAL))


@pytest.mark.parametrize("deviation", [0.15, 0.3, 0.45])
def test_the_spread_that_runs_have_is_learned(deviation: float) -> None:
    chance = random.Random(0)
    found = after([chance.lognormvariate(0.0, deviation) for _ in range(2000)])
    assert spread(found) == pytest.approx(deviation, rel=0.2)
    ratios = [chance.lognormvariate(0.0, deviation) for _ in range(2000)]
    beyond = sum(ratio > found.margin(2.05) for ratio in ratios) / len(ratios)
    assert 0.005 < beyond < 0.04, "one in fifty"


def test_runs_that_take_less_are_no_risk() -> None:
    assert spread(after([0.1] * 2000)) == pytest.approx(LEAST)


def test_one_that_hangs_says_little_and_many_no_end() -> None:
    assert spread(after([1000.0])) < 0.26
    assert spread(after([1000.0] * 2000)) == pytest.approx(MOST)


def test_nothing_expected_is_no_error() -> None:
    lateness = Lateness()
    lateness.record(0.0, 0.0)
    lateness.record(0.0, 5.0)
    assert math.isfinite(lateness.margin(3.0))
