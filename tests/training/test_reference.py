"""What a finished run puts beside its net: device classes that nobody takes for measured ones."""

from __future__ import annotations

from supernet.catalog import Catalog
from supernet.latency import LatencyTable
from training.reference import reference_tables


def test_one_measured_class_and_two_that_say_they_are_not(
    tables: tuple[LatencyTable, LatencyTable], catalog: Catalog
) -> None:
    measured = tables[0].model_copy(update={"device_class": "reference-cpu", "measured": True})
    reference, slower, slowest = reference_tables(measured, catalog)
    assert reference.measured
    assert not slower.measured
    assert not slowest.measured
    assert slower.source == "not measured: reference-cpu times 4"
    assert all("simulated" in table.device_class for table in (slower, slowest))
    for table, factor in ((reference, 1), (slower, 4), (slowest, 16)):
        assert table.latency_ms == {s: ms * factor for s, ms in measured.latency_ms.items()}


def test_default_budgets_let_ever_fewer_subnets_in(
    tables: tuple[LatencyTable, LatencyTable], catalog: Catalog
) -> None:
    eligible = []
    for table in reference_tables(tables[0], catalog):
        assert table.default_budget_ms is not None
        eligible.append(sum(ms <= table.default_budget_ms for ms in table.latency_ms.values()))
    assert eligible[0] == len(tables[0].latency_ms)
    assert eligible[0] > eligible[1] > eligible[2] > 0


def test_the_classes_get_different_subnets_also_where_a_fast_one_is_the_best(
    tables: tuple[LatencyTable, LatencyTable], catalog: Catalog
) -> None:
    milliseconds = {subnet: 1.0 + i for i, subnet in enumerate(catalog.subnets())}
    measured = tables[0].model_copy(update={"latency_ms": milliseconds})
    accuracies = [0.6, 0.7, 0.8, 0.9] + [0.5] * (len(catalog) - 4)
    entries = zip(catalog.entries, accuracies, strict=True)
    flat = Catalog(entries=tuple(e.model_copy(update={"accuracy": a}) for e, a in entries))
    chosen = set()
    for table in reference_tables(measured, flat):
        budget = table.default_budget_ms or 0.0
        within = [e for e in flat.entries if table.latency_ms[e.subnet] <= budget]
        chosen.add(max(within, key=lambda entry: entry.accuracy).subnet)
    assert len(chosen) == 3
