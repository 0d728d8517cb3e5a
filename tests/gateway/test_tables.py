from __future__ import annotations

from gateway.tables import DeviceClassInfo, StoredTable
from supernet.latency import LatencyTable


def test_a_class_in_short(tables: tuple[LatencyTable, LatencyTable]) -> None:
    _, beta = tables
    info = DeviceClassInfo.of(StoredTable(3, beta))
    assert (info.name, info.version, info.subnets, info.measured) == ("beta", 3, 18, False)
    assert info.source == "not measured: alpha times 4"
    assert info.default_budget_ms == beta.default_budget_ms
    assert info.created == beta.created
