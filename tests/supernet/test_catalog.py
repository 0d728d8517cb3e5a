"""The frontier is exactly the non-dominated set."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from supernet.catalog import Catalog, CatalogEntry, Int8Accuracy, pareto_frontier


def entry(subnet: str, accuracy: float, macs: int) -> CatalogEntry:
    return CatalogEntry(subnet=subnet, accuracy=accuracy, macs=macs, parameters=1)


# Few distinct values, so that ties are common.
costs = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=30)


@given(costs)
def test_the_frontier_is_what_nothing_dominates(values: list[tuple[int, int]]) -> None:
    catalog = Catalog(
        entries=tuple(entry(f"s{i}", a / 6, macs) for i, (a, macs) in enumerate(values))
    )

    def dominated(one: CatalogEntry) -> bool:
        return any(
            other.accuracy >= one.accuracy
            and other.macs <= one.macs
            and (other.accuracy, other.macs) != (one.accuracy, one.macs)
            for other in catalog.entries
        )

    found = catalog.frontier()
    expected = {(e.accuracy, e.macs) for e in catalog.entries if not dominated(e)}
    assert {(e.accuracy, e.macs) for e in found} == expected
    assert len(found) == len(expected)  # equal twins appear once
    assert [e.macs for e in found] == sorted(e.macs for e in found)
    assert [e.accuracy for e in found] == sorted(e.accuracy for e in found)


@given(costs, st.randoms(use_true_random=False))
def test_the_frontier_does_not_depend_on_order(
    values: list[tuple[int, int]], rng: random.Random
) -> None:
    entries = [entry(f"s{i}", a / 6, macs) for i, (a, macs) in enumerate(values)]
    before = [(e.accuracy, e.macs) for e in pareto_frontier(entries, lambda e: e.macs)]
    rng.shuffle(entries)
    assert [(e.accuracy, e.macs) for e in pareto_frontier(entries, lambda e: e.macs)] == before


def test_the_cost_can_be_a_latency() -> None:
    latency = {"a": 3.0, "b": 1.0, "c": 2.0}
    catalog = Catalog(entries=(entry("a", 0.9, 1), entry("b", 0.8, 2), entry("c", 0.7, 3)))
    found = catalog.frontier(lambda e: latency[e.subnet])
    assert [e.subnet for e in found] == ["b", "a"]
    assert [e.subnet for e in catalog.frontier()] == ["a"]


def test_look_up() -> None:
    catalog = Catalog(entries=(entry("a", 0.9, 1), entry("b", 0.8, 2)))
    assert len(catalog) == 2
    assert "a" in catalog
    assert "c" not in catalog
    assert catalog["b"].macs == 2
    assert list(catalog.subnets()) == ["a", "b"]
    with pytest.raises(ValueError, match="subnet 'c': not in the catalog of 2 subnets"):
        catalog["c"]


def test_a_subnet_is_listed_once() -> None:
    with pytest.raises(ValidationError, match="listed twice"):
        Catalog(entries=(entry("a", 0.9, 1), entry("a", 0.8, 2)))


@pytest.mark.parametrize("accuracy", [-0.1, 1.1, float("nan"), float("inf"), 93.5])
def test_accuracy_is_a_fraction(accuracy: float) -> None:
    with pytest.raises(ValidationError, match="accuracy"):
        entry("a", accuracy, 1)


def test_json_round_trip(catalog: Catalog) -> None:
    assert Catalog.model_validate_json(catalog.model_dump_json()) == catalog


def test_int8_figures_stand_beside_the_float_one_one_a_format() -> None:
    def measured(name: str, accuracy: float) -> Int8Accuracy:
        return Int8Accuracy(format=name, accuracy=accuracy, float_accuracy=0.75, images=8)

    plain = entry("a", 0.7, 1)
    both = plain.with_int8(measured("onnx", 0.5)).with_int8(measured("openvino", 0.6))
    again = both.with_int8(measured("onnx", 0.74))
    assert again.int8 == (measured("openvino", 0.6), measured("onnx", 0.74))
    assert again.int8[1].drop == 0.01
    assert again.model_copy(update={"int8": None}) == plain
    catalog = Catalog(entries=(entry("b", 0.6, 1), plain), predicted_by="a predictor")
    assert catalog.replaced(again).entries == (catalog["b"], again)
    assert catalog.replaced(again).predicted_by == "a predictor"
    assert hash(again) != hash(both)


def test_an_entry_from_before_int8_is_read_and_written_as_it_was() -> None:
    text = '{"subnet":"a","accuracy":0.5,"macs":1,"parameters":1}'
    old = CatalogEntry.model_validate_json(text)
    assert old.int8 is None
    assert old.model_dump_json(exclude_none=True) == text
