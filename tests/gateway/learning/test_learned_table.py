"""What a table moves on, how far, and that liars do not move it."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import median

import hypothesis
import hypothesis.strategies as st
import pytest

from gateway.learning.evidence import Estimate, Evidence
from gateway.learning.learned_table import Bounds, base_version, learned_table, reported_ratios
from gateway.stores.tables import StoredTable
from supernet.latency import LatencyTable

BOUNDS = Bounds(min_clients=3, min_change=0.05, max_step=1.25, max_total=4.0)
TABLE = LatencyTable(
    device_class="phone",
    artifact_hash="a" * 32,
    source="measured: a phone",
    measured=True,
    latency_ms={"d2-2@12": 1.0, "d3-3@12": 2.0, "d4-4@12": 4.0, "d4-4@16": 8.0},
    p95_ms={"d4-4@16": 10.0},
    default_budget_ms=5.0,
    conditions={"threads": "4"},
)
BASE = StoredTable(3, TABLE)
SUBNETS = tuple(TABLE.latency_ms)


def evidence(ratios: dict[str, list[float]], base: int = 3) -> Evidence:
    """Clients c0, c1, ... report these times the table's latencies."""
    return Evidence(
        base=base,
        estimates=tuple(
            Estimate(f"c{i}", subnet, TABLE.latency_ms[subnet] * ratio, 10)
            for subnet, of_clients in ratios.items()
            for i, ratio in enumerate(of_clients)
        ),
    )


def moved(table: LatencyTable | None, by: LatencyTable = TABLE) -> dict[str, float]:
    assert table is not None
    return {s: table.latency_ms[s] / by.latency_ms[s] for s in SUBNETS}


def test_too_little_evidence_moves_nothing() -> None:
    assert learned_table(BASE, BASE, evidence({}), BOUNDS) is None
    two = evidence({subnet: [2.0, 2.0] for subnet in SUBNETS})
    assert learned_table(BASE, BASE, two, BOUNDS) is None
    assert reported_ratios(TABLE, two, 3) == {}
    unknown = Evidence(base=3, estimates=tuple(Estimate(c, "d9@9", 1.0, 9) for c in "abc"))
    assert learned_table(BASE, BASE, unknown, BOUNDS) is None


def test_little_change_moves_nothing() -> None:
    near = evidence({subnet: [1.04, 0.97, 1.1] for subnet in SUBNETS})
    assert learned_table(BASE, BASE, near, BOUNDS) is None
    assert learned_table(BASE, BASE, near, replace(BOUNDS, min_change=0.01)) is not None


@pytest.mark.parametrize("ratio", [1.2, 0.85])
def test_subnets_without_evidence_move_along(ratio: float) -> None:
    table = learned_table(BASE, BASE, evidence({"d3-3@12": [ratio] * 3}), BOUNDS)
    assert moved(table) == pytest.approx(dict.fromkeys(SUBNETS, ratio))


def test_subnets_with_evidence_go_where_it_says() -> None:
    said = {"d2-2@12": [1.0] * 3, "d3-3@12": [1.1] * 4, "d4-4@12": [1.2] * 5}
    table = learned_table(BASE, BASE, evidence(said), BOUNDS)
    assert moved(table) == pytest.approx(
        {"d2-2@12": 1.0, "d3-3@12": 1.1, "d4-4@12": 1.2, "d4-4@16": 1.1}
    )


def test_subnets_move_along_with_those_of_their_size() -> None:
    """Small ones have stayed as they are, large ones have not."""
    sizes = {f"d2-2@{i}": 1.5**i for i in range(20)}
    table = TABLE.model_copy(update={"latency_ms": sizes, "p95_ms": {}})
    base, seen = StoredTable(3, table), {0: 1.0, 2: 1.0, 4: 1.0, 15: 1.2, 17: 1.2, 19: 1.2}
    said = Evidence(
        base=3,
        estimates=tuple(
            Estimate(client, f"d2-2@{i}", sizes[f"d2-2@{i}"] * ratio, 9)
            for i, ratio in seen.items()
            for client in "abc"
        ),
    )
    found = learned_table(base, base, said, BOUNDS)
    assert found is not None
    for i in range(20):
        ratio = found.latency_ms[f"d2-2@{i}"] / sizes[f"d2-2@{i}"]
        assert ratio == pytest.approx(1.0 if i <= 9 else 1.2)


def test_a_learned_table_says_what_it_stands_on() -> None:
    said = evidence({"d2-2@12": [1.2] * 3, "d3-3@12": [1.2] * 4, "d4-4@12": [9.0]})
    table = learned_table(BASE, BASE, said, BOUNDS)
    assert table is not None
    assert table.source == "learned from 70 reports of 4 clients over version 3"
    assert (table.kind, table.measured) == ("learned", False)
    assert table.conditions == {
        "threads": "4", "base_version": "3", "reports": "70", "clients": "4",
        "reported_subnets": "2",
    }  # fmt: skip
    assert (table.device_class, table.default_budget_ms) == ("phone", 5.0)
    assert table.p95_ms == {}
    assert base_version(StoredTable(7, table)) == 3


@pytest.mark.parametrize("said", ["", "3.5", "-1", "7", "99", "x"])
def test_a_base_that_makes_no_sense_is_none(said: str) -> None:
    """Else a table could be said to stand on itself, or on one that comes later."""
    table = TABLE.model_copy(update={"kind": "learned", "conditions": {"base_version": said}})
    assert base_version(StoredTable(7, table)) == 7
    assert base_version(StoredTable(7, TABLE)) == 7


@pytest.mark.parametrize("ratio", [2.0, 0.5, 20.0, 0.05])
def test_a_drift_is_followed_step_by_step_and_not_without_end(ratio: float) -> None:
    said, current, steps = evidence({"d3-3@12": [ratio] * 3}), BASE, 0
    while (table := learned_table(BASE, current, said, BOUNDS)) is not None:
        step = moved(table, by=current.table)
        assert all(1 / 1.25 - 1e-9 <= s <= 1.25 + 1e-9 for s in step.values())
        current, steps = StoredTable(current.version + 1, table), steps + 1
        assert base_version(current) == 3
        assert steps < 10
    reached = min(max(ratio, 0.25), 4.0)
    assert moved(current.table)["d3-3@12"] == pytest.approx(reached, rel=0.05)
    assert steps == pytest.approx(abs(math.log(reached) / math.log(1.25)), abs=1)


ratios = st.floats(0.04, 25.0)


@hypothesis.given(
    honest=st.lists(ratios, min_size=3, max_size=9),
    lies=st.lists(ratios, max_size=8),
    more=st.dictionaries(st.sampled_from(SUBNETS[1:]), st.lists(ratios, max_size=6)),
)
def test_fewer_than_half_liars_move_nothing_beyond_what_the_others_say(
    honest: list[float], lies: list[float], more: dict[str, list[float]]
) -> None:
    lies = lies[: len(honest) - 1]
    said = evidence({SUBNETS[0]: honest + lies} | more)
    ratio = reported_ratios(TABLE, said, 3)[SUBNETS[0]]
    assert min(honest) * (1 - 1e-9) <= ratio <= max(honest) * (1 + 1e-9)


@hypothesis.given(
    honest=st.lists(st.floats(0.97, 1.03), min_size=2, max_size=9),
    lies=st.dictionaries(st.sampled_from(SUBNETS), ratios),
)
def test_one_liar_among_honest_clients_moves_nothing(
    honest: list[float], lies: dict[str, float]
) -> None:
    said = evidence(
        {subnet: honest + ([lies[subnet]] if subnet in lies else []) for subnet in SUBNETS}
    )
    assert learned_table(BASE, BASE, said, BOUNDS) is None


@hypothesis.given(
    said=st.dictionaries(st.sampled_from(SUBNETS), st.lists(ratios, max_size=6)),
    now=st.lists(st.floats(0.25, 4.0), min_size=4, max_size=4),
)
def test_bounds_hold_whatever_is_reported(said: dict[str, list[float]], now: list[float]) -> None:
    at = {s: ms * r for (s, ms), r in zip(TABLE.latency_ms.items(), now, strict=True)}
    current = StoredTable(9, TABLE.model_copy(update={"latency_ms": at}))
    table = learned_table(BASE, current, evidence(said), BOUNDS)
    counted = {s: r for s, r in said.items() if len(r) >= 3}
    assert table is None or counted
    if table is not None:
        for subnet in SUBNETS:
            ms = table.latency_ms[subnet]
            assert ms / at[subnet] >= (1 - 1e-9) / 1.25
            assert ms / at[subnet] <= 1.25 * (1 + 1e-9)
            assert ms / TABLE.latency_ms[subnet] >= 0.25 * (1 - 1e-9)
            assert ms / TABLE.latency_ms[subnet] <= 4.0 * (1 + 1e-9)
            if subnet in counted:  # towards what is reported, and never beyond
                target = TABLE.latency_ms[subnet] * median(counted[subnet])
                low, high = sorted((at[subnet], target))
                assert low * (1 - 1e-9) <= ms <= high * (1 + 1e-9)
