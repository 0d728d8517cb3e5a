from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.errors import NoSubnet
from gateway.request import Constraints, Selection
from gateway.select import Candidates, select
from supernet.catalog import Catalog, CatalogEntry
from supernet.latency import LatencyTable

NEARLY_EQUAL = st.sampled_from([0.25, 0.5, 0.5000001, 0.75])  # so that ties are met
ACCURACY = st.one_of(NEARLY_EQUAL, st.floats(0, 1))
MILLISECONDS = st.one_of(st.sampled_from([1.0, 2.0, 4.0]), st.floats(0.01, 100))


@dataclass(frozen=True)
class Row:
    subnet: str
    resolution: int
    accuracy: float
    latency_ms: float


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    names = draw(
        st.lists(
            st.tuples(st.integers(1, 4), st.sampled_from([20, 24, 28])),
            min_size=1, max_size=12, unique=True,
        )
    )  # fmt: skip
    return [
        Row(f"d{depth}@{resolution}", resolution, draw(ACCURACY), draw(MILLISECONDS))
        for depth, resolution in names
    ]


def candidates(table: list[Row], default_budget_ms: float | None = None) -> Candidates:
    entries = tuple(
        CatalogEntry(subnet=r.subnet, accuracy=r.accuracy, macs=1, parameters=1) for r in table
    )
    latencies = LatencyTable(
        device_class="phone",
        artifact_hash="",
        source="made up",
        measured=False,
        latency_ms={r.subnet: r.latency_ms for r in table},
        default_budget_ms=default_budget_ms,
    )
    return Candidates(Catalog(entries=entries), latencies)


def brute_force(
    table: list[Row],
    constraints: Constraints,
    default_budget_ms: float | None,
    max_resolution: int | None,
) -> Row | None:
    """Selection as the design words it, over every row."""
    budget, accuracy = constraints.latency_budget_ms, constraints.min_accuracy
    only_accuracy = budget is None and accuracy is not None
    if budget is None and not only_accuracy:
        budget = default_budget_ms
    wanted = [
        r
        for r in table
        if (max_resolution is None or r.resolution <= max_resolution)
        and (budget is None or r.latency_ms <= budget)
        and (accuracy is None or r.accuracy >= accuracy)
    ]
    if only_accuracy:
        return min(wanted, key=lambda r: (r.latency_ms, -r.accuracy), default=None)
    return min(wanted, key=lambda r: (-r.accuracy, r.latency_ms), default=None)


def outcome(
    table: list[Row],
    constraints: Constraints,
    default_budget_ms: float | None = None,
    max_resolution: int | None = None,
) -> Selection | None:
    try:
        offered = candidates(table, default_budget_ms)
        return select(offered, constraints, max_resolution=max_resolution)
    except NoSubnet:
        return None


@given(
    table=rows(),
    budget=st.none() | MILLISECONDS,
    accuracy=st.none() | ACCURACY,
    default=st.none() | MILLISECONDS,
    max_resolution=st.none() | st.integers(19, 29),
)
def test_equals_brute_force(
    table: list[Row],
    budget: float | None,
    accuracy: float | None,
    default: float | None,
    max_resolution: int | None,
) -> None:
    constraints = Constraints("phone", budget, accuracy)
    expected = brute_force(table, constraints, default, max_resolution)
    chosen = outcome(table, constraints, default, max_resolution)
    assert (chosen is None) == (expected is None)
    if chosen is None or expected is None:
        return
    assert (chosen.accuracy, chosen.latency_ms) == (expected.accuracy, expected.latency_ms)
    assert not chosen.degraded


@given(table=rows(), budget=MILLISECONDS, more=MILLISECONDS)
def test_a_larger_budget_is_never_answered_worse(
    table: list[Row], budget: float, more: float
) -> None:
    small = outcome(table, Constraints("phone", budget))
    assume(small is not None)
    large = outcome(table, Constraints("phone", budget + more))
    assert small is not None
    assert large is not None
    assert large.accuracy >= small.accuracy


THREE = [
    Row("d1@20", 20, 0.80, 1.0),
    Row("d2@24", 24, 0.90, 2.0),
    Row("d3@28", 28, 0.95, 4.0),
]


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        (
            Constraints("phone", latency_budget_ms=0.5),
            "no subnet takes at most 0.5 ms on 'phone'; the fastest is d1@20 "
            "(1 ms, accuracy 0.8000)",
        ),
        (
            Constraints("phone", min_accuracy=0.99),
            "no subnet reaches accuracy 0.99 on 'phone'; the most accurate is d3@28 "
            "(4 ms, accuracy 0.9500)",
        ),
        (
            Constraints("phone", latency_budget_ms=1.5, min_accuracy=0.85),
            "no subnet reaches accuracy 0.85 within 1.5 ms on 'phone'; the fastest that reaches "
            "it is d2@24 (2 ms, accuracy 0.9000)",
        ),
    ],
)
def test_names_the_nearest_that_exists(constraints: Constraints, message: str) -> None:
    with pytest.raises(NoSubnet) as caught:
        select(candidates(THREE), constraints)
    assert caught.value.safe_message == message


def test_says_where_no_resolution_is_small_enough() -> None:
    with pytest.raises(NoSubnet, match="at or below 19 pixels; the smallest is 20"):
        select(candidates(THREE), Constraints("phone"), max_resolution=19)


def test_subnets_missing_from_the_table_are_not_eligible() -> None:
    catalog = Catalog(
        entries=tuple(
            CatalogEntry(subnet=r.subnet, accuracy=r.accuracy, macs=1, parameters=1) for r in THREE
        )
    )
    table = LatencyTable(
        device_class="phone", artifact_hash="", source="made up", measured=False,
        latency_ms={"d1@20": 1.0, "d2@24": 2.0},
    )  # fmt: skip
    assert select(Candidates(catalog, table), Constraints("phone")).subnet == "d2@24"


def test_a_frontier_is_soon_there_and_a_query_at_once() -> None:
    """Of 243 subnets at each of five resolutions; bounds are several times what it takes."""
    table = [
        Row(f"d{i}@{resolution}", resolution, accuracy=i / 1000, latency_ms=1 + i % 500)
        for resolution in (128, 160, 192, 208, 224)
        for i in range(1, 244)
    ]
    catalog = Catalog(entries=tuple(
        CatalogEntry(subnet=r.subnet, accuracy=r.accuracy, macs=1, parameters=1) for r in table
    ))  # fmt: skip
    latencies = LatencyTable(
        device_class="phone", artifact_hash="", source="made up", measured=False,
        latency_ms={r.subnet: r.latency_ms for r in table},
    )  # fmt: skip

    def took(times: int, run: Callable[[], object]) -> float:
        began = time.process_time()
        for _ in range(times):
            run()
        return (time.process_time() - began) / times

    assert min(took(1, lambda: Candidates(catalog, latencies)) for _ in range(5)) < 0.020
    ready = Candidates(catalog, latencies)
    for budget, accuracy in ((77.5, None), (77.5, 0.01), (None, 0.1)):
        ask = partial(select, ready, Constraints("phone", budget, accuracy))
        assert min(took(100, ask) for _ in range(5)) < 20e-6
