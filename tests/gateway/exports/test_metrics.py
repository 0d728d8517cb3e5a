from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from gateway.calls import Call
from gateway.exports.metrics import ExportMetrics, add_export_gauges


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> ExportMetrics:
    return ExportMetrics(registry, {"alpha": "alpha", "a": "alpha"}.get)


def test_fetches_are_counted_by_the_class_they_mean(
    registry: CollectorRegistry, metrics: ExportMetrics
) -> None:
    for name in ("alpha", "a", "made-up-1", "made-up-2"):
        metrics.observe(Call("FetchSubnet", "peer", name, export_format="onnx", seconds=2.0))
    metrics.observe(Call("Infer", "peer", "alpha"))
    value, labels = registry.get_sample_value, {"format": "onnx", "code": "OK"}
    assert value("compofa_fetches_total", labels | {"device_class": "alpha"}) == 2
    assert value("compofa_fetches_total", labels | {"device_class": "unknown"}) == 2
    assert value("compofa_fetch_seconds_sum", {"format": "onnx"}) == 8.0


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(None, "built"), (ValueError("no"), "failed"), (asyncio.CancelledError(), "cancelled")],
)
def test_a_build_has_one_outcome(
    registry: CollectorRegistry,
    metrics: ExportMetrics,
    error: BaseException | None,
    outcome: str,
) -> None:
    def build() -> None:
        with metrics.building("onnx"):
            if error is not None:
                raise error

    if error is None:
        build()
    else:
        with pytest.raises(type(error)):
            build()
    (family,) = (f for f in registry.collect() if f.name == "compofa_export_builds")
    counted = {s.labels["outcome"]: s.value for s in family.samples if s.name.endswith("_total")}
    assert counted == {outcome: 1}
    seconds = registry.get_sample_value("compofa_export_build_seconds_count", {"format": "onnx"})
    assert seconds == (1 if error is None else None)


def test_gauges_are_read_when_scraped(registry: CollectorRegistry, metrics: ExportMetrics) -> None:
    held = [5.0, 1.0]
    add_export_gauges(registry, lambda: held[0], lambda: held[1])
    metrics.sent("onnx", 7)
    held[0] = 6.0
    value = registry.get_sample_value
    assert value("compofa_export_cache_bytes") == 6.0
    assert value("compofa_fetches_open") == 1.0
    assert value("compofa_fetch_bytes_total", {"format": "onnx"}) == 7
