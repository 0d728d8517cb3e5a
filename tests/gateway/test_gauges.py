"""Gauges: what Prometheus reads when it scrapes."""

import os
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from gateway.gauges import add_build_info, add_gauges, add_store_gauges
from gateway.heap import resident_bytes
from gateway.stores.table_check import RefusedTableError
from gateway.stores.tables import DeviceClassInfo

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
ALPHA = DeviceClassInfo("alpha", 5.0, True, "measured", 3, CREATED, 9, "measured", None, 4)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_gauges_are_read_at_the_scrape(registry: CollectorRegistry) -> None:
    processes = {0: os.getpid(), 1: 2**30}  # the second is gone
    engine = SimpleNamespace(
        resident_bytes=10, whole_subnets=0, compile_failures=0, processes=lambda: processes
    )
    pipeline = SimpleNamespace(
        pending=0,
        run_spread=0.2,
        max_pending=9,
        worker_failures=0,
        failed_batches=3,
        engine=engine,
        device_classes=lambda: [ALPHA],
    )
    add_gauges(registry, pipeline, clock=lambda: CREATED.timestamp() + 60.0)
    pipeline.run_spread = 0.3
    pipeline.pending, engine.resident_bytes, engine.whole_subnets = 7, 20, 3
    pipeline.worker_failures, engine.compile_failures = 2, 1
    value, alpha = registry.get_sample_value, {"device_class": "alpha"}
    assert value("compofa_whole_subnets") == 3
    assert value("compofa_worker_failures_total") == 2
    assert value("compofa_failed_batches_total") == 3
    assert value("compofa_compile_failures_total") == 1
    assert value("compofa_worker_resident_memory_bytes", {"worker": "0"}) == pytest.approx(
        resident_bytes(), rel=0.1
    )
    assert value("compofa_worker_cpu_seconds_total", {"worker": "0"})
    assert value("compofa_worker_cpu_seconds_total", {"worker": "1"}) is None
    assert value("compofa_queue_depth") == 7
    assert value("compofa_queue_limit") == 9
    assert value("compofa_run_spread") == 0.3
    assert value("compofa_resident_bytes") == 20
    assert value("compofa_latency_table_age_seconds", alpha) == 60.0
    assert value("compofa_latency_table_version", alpha) == 3


def test_what_runs_here_is_in_labels(registry: CollectorRegistry) -> None:
    add_build_info(registry, "1.2", "tiny", "abc")
    labels = {"version": "1.2", "artifact": "tiny", "artifact_hash": "abc"}
    assert registry.get_sample_value("compofa_build_info", labels) == 1


def test_the_store_is_read_at_the_scrape(registry: CollectorRegistry) -> None:
    follower = SimpleNamespace(up=True, staleness_s=0.5, refused={}, lost=frozenset())
    add_store_gauges(registry, follower)
    value = registry.get_sample_value
    assert (value("compofa_store_up"), value("compofa_store_staleness_seconds")) == (1, 0.5)
    follower.up, follower.staleness_s = False, 30.0
    follower.refused = {
        "phone": RefusedTableError("checksum", "damaged"),
        "x" * 999: RefusedTableError("form", "no table"),
    }
    follower.lost = frozenset({"watch"})
    assert (value("compofa_store_up"), value("compofa_store_staleness_seconds")) == (0, 30.0)
    refused = "compofa_latency_table_refused"
    assert value(refused, {"device_class": "phone", "reason": "checksum"}) == 1
    assert value(refused, {"device_class": "x" * 63, "reason": "form"}) == 1
    assert value("compofa_latency_table_lost", {"device_class": "watch"}) == 1
