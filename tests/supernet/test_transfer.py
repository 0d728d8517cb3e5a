"""Latencies that are told from a few: exact where the model holds, one line where nothing fits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supernet.architecture import Architecture
from supernet.complexity import complexity
from supernet.latency import LatencyTable
from supernet.presets import fashion_mnist_mbv3
from supernet.transfer import FEWEST, pick, transfer, transferred_table
from supernet.workload import workload
from tests.supernet.block_times import small_space

SPACE = fashion_mnist_mbv3()
IDS = [arch.id for arch in SPACE.enumerate()]
WORK = np.array([workload(SPACE, Architecture.parse(subnet)) for subnet in IDS])
WORK /= WORK.mean(0)


def device(shares: list[float], noise: float = 0.0, seed: int = 0) -> dict[str, float]:
    """What each subnet takes on a device that spends these shares of a ms on the kinds of work."""
    factors = 1 + noise * np.random.default_rng(seed).standard_normal(len(IDS))
    return dict(zip(IDS, (WORK @ np.array(shares) * factors).tolist(), strict=True))


OVERHEAD = [0.1, 0.5, 0.1, 0.1, 0.1, 0.05, 0.05]  # as a device that starts layers slowly
COMPUTE = [0.1, 0.05, 0.1, 0.4, 0.1, 0.05, 0.2]


def errors(predicted: dict[str, float], actual: dict[str, float]) -> list[float]:
    return [abs(predicted[subnet] / ms - 1) for subnet, ms in actual.items()]


@given(factor=st.floats(0.01, 100), count=st.integers(FEWEST, 12), seed=st.integers(0, 99))
@settings(max_examples=20)
def test_a_device_so_many_times_as_slow_is_told_exactly(
    factor: float, count: int, seed: int
) -> None:
    known = device(COMPUTE, 0.05, seed)
    slower = {subnet: ms * factor for subnet, ms in known.items()}
    few = {subnet: slower[subnet] for subnet in pick(SPACE, known, count)}
    found = transfer(SPACE, known, few)
    assert found.latency_ms == pytest.approx(slower, rel=1e-3)
    assert found.expected_error < 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_a_device_of_another_kind_is_told_from_ten_noisy_measurements(seed: int) -> None:
    known, other = device(OVERHEAD, 0.02, seed), device(COMPUTE)
    noisy = device(COMPUTE, 0.02, seed + 100)
    few = {subnet: noisy[subnet] for subnet in pick(SPACE, known, 10)}
    found = transfer(SPACE, known, few)
    by_proportion = float(np.mean([few[subnet] / known[subnet] for subnet in few]))
    proportional = {subnet: ms * by_proportion for subnet, ms in known.items()}
    assert np.mean(errors(found.latency_ms, other)) < 0.03
    assert np.mean(errors(proportional, other)) > 0.08
    assert 0.002 < found.expected_error < 0.06


def test_what_was_measured_stays() -> None:
    known = device(COMPUTE)
    few = {subnet: 1.0 + i / 100 for i, subnet in enumerate(IDS[:5])}
    found = transfer(SPACE, known, few).latency_ms
    assert {subnet: found[subnet] for subnet in few} == few
    assert list(found) == IDS


def test_the_subnets_to_measure_differ_in_size_resolution_and_form() -> None:
    known = device(COMPUTE)
    picked = pick(SPACE, known, 10)
    assert picked == pick(SPACE, known, 10)
    assert len(set(picked)) == 10
    archs = [Architecture.parse(subnet) for subnet in picked]
    assert {arch.resolution for arch in archs} == set(SPACE.resolutions)
    for unit in range(5):
        assert {2, 4} <= {arch.depths[unit] for arch in archs}
    of_all = sorted(known.values())
    of_picked = sorted(known[subnet] for subnet in picked)
    assert of_picked[0] <= of_all[len(of_all) // 20]
    assert of_picked[-1] >= of_all[-len(of_all) // 20]
    assert pick(SPACE, known, 5) == picked[:5]  # more measurements go on from fewer


def test_picked_subnets_tell_more_than_those_drawn_by_lot() -> None:
    known, other = device(OVERHEAD), device(COMPUTE)
    rng = np.random.default_rng(0)

    def error(subnets: list[str], seed: int) -> float:
        noisy = device(COMPUTE, 0.02, seed)
        found = transfer(SPACE, known, {subnet: noisy[subnet] for subnet in subnets})
        return float(np.mean(errors(found.latency_ms, other)))

    drawn = [error(list(rng.choice(IDS, 6, replace=False)), seed) for seed in range(20)]
    picked = [error(pick(SPACE, known, 6), seed) for seed in range(20)]
    assert np.mean(picked) < np.mean(drawn)


@pytest.mark.parametrize(
    ("measured", "message"),
    [
        ({}, "expected at least 3 measured subnets, got 0"),
        ({IDS[0]: 1.0, IDS[1]: 1.0}, "expected at least 3 measured subnets, got 2"),
        (
            {IDS[0]: 1.0, IDS[1]: 1.0, "d2-2@12": 1.0},
            "subnet 'd2-2@12': the known device class has no latency of it",
        ),
        ({IDS[0]: 1.0, IDS[1]: 1.0, IDS[2]: math.nan}, "expected a positive number of ms, got nan"),
        ({IDS[0]: 1.0, IDS[1]: 1.0, IDS[2]: -1.0}, "expected a positive number of ms, got -1.0"),
        ({IDS[0]: 1.0, IDS[1]: 1e6, IDS[-1]: 1e-6}, "the measurements fit no device: subnet d"),
    ],
)
def test_nonsense_is_one_line(measured: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=r"expected|device") as caught:
        transfer(SPACE, device(COMPUTE), measured)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def latencies_or_line(known: dict[str, float], measured: dict[str, float]) -> None:
    try:
        found = transfer(SPACE, known, measured)
    except ValueError as error:
        line = str(error)
    else:
        assert all(0 < ms < math.inf for ms in found.latency_ms.values())
        assert 0 <= found.expected_error < math.inf
        return
    assert "the measurements fit no device: subnet d" in line
    assert "\n" not in line


@given(st.dictionaries(st.sampled_from(IDS), st.floats(1e-12, 1e12), min_size=FEWEST, max_size=10))
def test_any_measurements_give_latencies_or_one_line(measured: dict[str, float]) -> None:
    latencies_or_line(device(COMPUTE), measured)


@settings(max_examples=50)
@given(st.lists(st.floats(0.1, 10), min_size=FEWEST, max_size=10), st.floats(1e-6, 1e6))
def test_unlikely_measurements_give_latencies_or_one_line(
    factors: list[float], pace: float
) -> None:
    known = device(COMPUTE)
    picked = zip(pick(SPACE, known, len(factors)), factors, strict=True)
    latencies_or_line(known, {subnet: known[subnet] * f * pace for subnet, f in picked})


@pytest.mark.parametrize("count", [-1, 2, 730])
def test_too_few_or_too_many_to_pick(count: int) -> None:
    with pytest.raises(ValueError, match=f"from 3 to 729 subnets to measure, got {count}$"):
        pick(SPACE, device(COMPUTE), count)


def test_a_table_says_that_it_was_not_measured() -> None:
    known, few = device(COMPUTE), dict(list(device(OVERHEAD).items())[::90])
    common: dict[str, Any] = {
        "artifact_hash": "0" * 32,
        "source": "measured: here",
        "measured": True,
    }
    table = transferred_table(
        SPACE,
        LatencyTable(device_class="known", latency_ms=known, p95_ms=known, **common),
        LatencyTable(
            device_class="new", latency_ms=few, conditions={"threads": "2"},
            default_budget_ms=3.0, **common,
        ),
        warn=pytest.fail,
    )  # fmt: skip
    assert (table.device_class, table.kind, table.measured) == ("new", "transferred", False)
    assert table.source == "transferred from known by 9 measurements"
    assert table.latency_ms.keys() == known.keys()
    assert table.p95_ms == {}
    assert table.default_budget_ms == 3.0
    assert table.conditions["threads"] == "2"
    assert table.conditions["expected_error"].endswith("leaving out one measurement at a time")


@pytest.mark.parametrize("resolutions", [(16,), (16, 32)])
def test_costs_that_are_nothing_or_the_same_for_all_do_no_harm(
    resolutions: tuple[int, ...],
) -> None:
    """A space without gates, at one resolution or two."""
    space = small_space(((3,),) * 3, resolutions, compound=True)
    known = {arch.id: complexity(space, arch).macs / 1e5 for arch in space.enumerate()}
    slower = {subnet: 7 * ms for subnet, ms in known.items()}
    few = {subnet: slower[subnet] for subnet in pick(space, known, FEWEST)}
    assert transfer(space, known, few).latency_ms == pytest.approx(slower, rel=1e-3)
