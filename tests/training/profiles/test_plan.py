"""Sums of pieces against devices whose law is known."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.profiles.portable.plan import Plan, fitted_line, measure

if TYPE_CHECKING:
    from training.profiles.portable.plan import Net

RESOLUTIONS = (8, 16)
NETS: dict[str, Net] = {
    f"d{a}-{b}@{resolution}": (resolution, ("stem", f"a{a}", f"b{b}", "head"))
    for resolution in RESOLUTIONS
    for a, b in itertools.product((2, 3, 4), repeat=2)
}
FITTED = tuple(f"{d}@{r}" for r in RESOLUTIONS for d in ("d2-2", "d3-4", "d4-4"))
HELD_OUT = tuple(f"{d}@{r}" for r in RESOLUTIONS for d in ("d2-3", "d4-2"))


def device(
    ms: dict[tuple[int, str], float], lines: dict[int, tuple[float, float]]
) -> Callable[[Net], Callable[[], float]]:
    """A device on which a part alone takes `ms`, and a subnet a + b times their sum."""

    def make_timer(net: Net) -> Callable[[], float]:
        resolution, parts = net
        total = sum(ms[resolution, part] for part in parts)
        intercept, slope = lines[resolution] if len(parts) > 1 else (0.0, 1.0)
        return lambda: intercept + slope * total

    return make_timer


def part_times(seed: int) -> dict[tuple[int, str], float]:
    rng = random.Random(seed)
    parts = {(resolution, part) for resolution, names in NETS.values() for part in names}
    return {part: rng.uniform(0.1, 1.0) for part in sorted(parts)}


@given(
    seed=st.integers(0, 2**32),
    intercepts=st.tuples(st.floats(-0.1, 1.0), st.floats(-0.1, 1.0)),
    slopes=st.tuples(st.floats(0.5, 3.0), st.floats(0.5, 3.0)),
)
@settings(max_examples=25)
def test_a_line_at_each_resolution_is_found(
    seed: int, intercepts: tuple[float, float], slopes: tuple[float, float]
) -> None:
    lines = dict(zip(RESOLUTIONS, zip(intercepts, slopes, strict=True), strict=True))
    make_timer = device(part_times(seed), lines)
    found = measure(Plan(NETS, FITTED, HELD_OUT), make_timer, 3)
    assert found.latency_ms == {
        subnet: pytest.approx(make_timer(net)(), abs=1e-4) for subnet, net in NETS.items()
    }
    assert found.check is not None
    assert found.check.mean_error < 1e-3
    assert found.check.subnets == len(HELD_OUT)
    assert found.conditions["by"] == "piece"
    assert found.conditions["held_out"] == str(found.check)
    assert found.p95_ms == found.std_ms == {}


def test_every_subnet_by_itself() -> None:
    make_timer = device(part_times(0), dict.fromkeys(RESOLUTIONS, (0.0, 1.0)))
    plan, done = Plan(NETS), list[float]()
    found = measure(plan, make_timer, 6, done.append)
    expected = {subnet: round(make_timer(net)(), 4) for subnet, net in NETS.items()}
    assert found.latency_ms == found.p95_ms == expected
    assert found.std_ms == dict.fromkeys(NETS, 0.0)
    assert found.check is None
    assert found.conditions == {"by": "subnet", "runs": "6", "discarded": "0 of 180 runs"}
    assert sum(done) == pytest.approx(plan.size)
    assert plan.size == 18


def test_pieces_are_less_to_time_and_what_never_rests_is_told() -> None:
    plan = Plan(NETS, FITTED, HELD_OUT)
    assert plan.size == 2 * (8 + 3 + 2)
    swing = itertools.cycle([1.0] * 5 + [2.0] * 5)
    found = measure(plan, lambda _: lambda: next(swing), 3)
    assert found.conditions["unsteady"] == "26 of 26 never came to rest in warming up"


def test_a_fitted_line_minimises_relative_error() -> None:
    assert fitted_line([1.0, 2.0, 4.0], [3.0, 5.0, 9.0]) == pytest.approx((1.0, 2.0))
    x, y = [1.0, 2.0, 3.0, 100.0], [2.0, 2.5, 4.5, 90.0]
    intercept, slope = fitted_line(x, y)

    def error(a: float, b: float) -> float:
        return sum(((a + b * i - j) / j) ** 2 for i, j in zip(x, y, strict=True))

    best = error(intercept, slope)
    assert all(
        error(intercept + da, slope + db) > best
        for da, db in itertools.product((-0.01, 0.0, 0.01), repeat=2)
        if da or db
    )
