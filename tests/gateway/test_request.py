from __future__ import annotations

import math

import pytest

from gateway.errors import InvalidRequest
from gateway.request import Constraints


@pytest.mark.parametrize("budget", [0.0, -1.0, math.nan, math.inf, -math.inf, True])
def test_a_budget_is_positive_and_finite(budget: float) -> None:
    with pytest.raises(InvalidRequest, match="latency_budget_ms: expected a positive"):
        Constraints("alpha", latency_budget_ms=budget)


@pytest.mark.parametrize("accuracy", [-0.1, 1.1, math.nan, math.inf])
def test_an_accuracy_is_a_fraction(accuracy: float) -> None:
    with pytest.raises(InvalidRequest, match="min_accuracy: expected a number from 0 to 1"):
        Constraints("alpha", min_accuracy=accuracy)


def test_a_device_class_is_required() -> None:
    with pytest.raises(InvalidRequest, match="device_class"):
        Constraints("")


def test_the_ends_of_the_range_are_allowed() -> None:
    assert Constraints("alpha", min_accuracy=0).min_accuracy == 0
    assert Constraints("alpha", 5e-324, 1.0).latency_budget_ms == 5e-324
