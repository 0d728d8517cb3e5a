"""Rank correlation and errors of predictions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.profiles.portable.check import Check, spearman


def test_what_a_check_says() -> None:
    check = Check.of([1.1, 1.8, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0])
    found = (check.rank_correlation, check.mean_error, check.worst_error)
    assert found == pytest.approx((1.0, 0.05, 0.1))
    assert check.subnets == 4
    assert str(check) == (
        "rank correlation 1.000, mean error 5.0%, worst 10.0% on 4 held-out subnets"
    )


def test_ranks_of_equal_values_are_shared() -> None:
    # By hand: ranks 1, 2.5, 2.5, 4 against 1, 3, 2, 4.
    assert spearman([1, 2, 2, 9], [10, 30, 20, 40]) == pytest.approx(0.9486833)
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)


@given(st.lists(st.floats(0.01, 1e3), min_size=2, max_size=30, unique=True))
def test_order_is_all_that_counts(values: list[float]) -> None:
    assert spearman(values, [v**3 + 1 for v in map(float, map(sorted(values).index, values))]) == (
        pytest.approx(1.0)
    )
