"""What a finished run puts beside its net: device classes that nobody takes for measured ones."""

from __future__ import annotations

from supernet.latency import LatencyTable
from training.run import reference_tables


def test_one_measured_class_and_two_that_say_they_are_not(
    tables: tuple[LatencyTable, LatencyTable],
) -> None:
    measured = tables[0].model_copy(update={"device_class": "reference-cpu", "measured": True})
    reference, slower, slowest = reference_tables(measured)
    assert reference.measured
    assert not slower.measured
    assert not slowest.measured
    assert slower.source == "not measured: reference-cpu times 4"
    assert all("simulated" in table.device_class for table in (slower, slowest))
    for table, factor in ((reference, 1), (slower, 4), (slowest, 16)):
        assert table.latency_ms == {s: ms * factor for s, ms in measured.latency_ms.items()}


def test_default_budgets_let_ever_fewer_subnets_in(
    tables: tuple[LatencyTable, LatencyTable],
) -> None:
    eligible = []
    for table in reference_tables(tables[0]):
        assert table.default_budget_ms is not None
        eligible.append(sum(ms <= table.default_budget_ms for ms in table.latency_ms.values()))
    assert eligible[0] == len(tables[0].latency_ms)
    assert eligible[0] > eligible[1] > eligible[2] > 0
