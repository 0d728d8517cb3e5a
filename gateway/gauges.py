"""What Prometheus reads of a gateway when it scrapes, under the prefix `compofa_`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, Gauge, Histogram, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway.stores.table_check import RefusedTableError
from gateway.stores.tables import DeviceClassInfo
from gateway.taken import taken_by
from supernet.manifest import Manifest
from supernet.version import version

_LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_LONGEST_LABEL = 63  # what a damaged store calls a device class may be longer


class _Engine(Protocol):
    @property
    def resident_bytes(self) -> int: ...

    @property
    def whole_subnets(self) -> int: ...

    @property
    def compile_failures(self) -> int: ...

    def processes(self) -> Mapping[int, int]: ...


class Gauged(Protocol):
    """The part of a pipeline that gauges read."""

    @property
    def pending(self) -> int: ...

    @property
    def run_spread(self) -> float: ...

    @property
    def max_pending(self) -> int: ...

    @property
    def worker_failures(self) -> int: ...

    @property
    def failed_batches(self) -> int: ...

    @property
    def engine(self) -> _Engine: ...

    def device_classes(self) -> Iterable[DeviceClassInfo]: ...


def add_gauges(
    registry: CollectorRegistry, pipeline: Gauged, clock: Callable[[], float] = time.time
) -> None:
    """Register the gauges; `clock` gives seconds since the epoch."""
    Gauge("compofa_queue_depth", "Requests queued or running.", registry=registry).set_function(
        lambda: pipeline.pending
    )
    Gauge("compofa_queue_limit", "Most requests queued or running at once.", registry=registry).set(
        pipeline.max_pending
    )
    Gauge(
        "compofa_run_spread",
        "Standard deviation of the logarithm of what batches take over what was expected of them.",
        registry=registry,
    ).set_function(lambda: pipeline.run_spread)
    Gauge(
        "compofa_resident_bytes", "Weights of the subnets kept in memory.", registry=registry
    ).set_function(lambda: pipeline.engine.resident_bytes)
    Gauge(
        "compofa_whole_subnets", "Subnets that are compiled whole.", registry=registry
    ).set_function(lambda: pipeline.engine.whole_subnets)
    registry.register(_Failures(pipeline))
    registry.register(_Workers(pipeline))
    registry.register(_TableGauges(pipeline, clock))


def add_build_info(registry: CollectorRegistry, version: str, artifact: str, hash_: str) -> None:
    """Register what runs here: `version` of the gateway, name and hash of the artifact."""
    Gauge(
        "compofa_build_info",
        "1; its labels say which gateway this is, and which artifact it serves.",
        ["version", "artifact", "artifact_hash"],
        registry=registry,
    ).labels(version, artifact, hash_).set(1)


def process_registry(manifest: Manifest, follower: Followed) -> CollectorRegistry:
    """A registry with what is to be known of this process, its artifact and its store."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    add_build_info(registry, version(), manifest.name, manifest.artifact_hash)
    add_store_gauges(registry, follower)
    return registry


def loop_lag(registry: CollectorRegistry) -> Histogram:
    """Register how late the event loop comes to its work, for a `Heartbeat` to observe."""
    return Histogram(
        "compofa_event_loop_lag_seconds",
        "How late the event loop came to something that was due.",
        buckets=_LAG_SECONDS,
        registry=registry,
    )


class _Failures(Collector):
    """What the gateway has survived, counted by others."""

    def __init__(self, pipeline: Gauged) -> None:
        self._pipeline = pipeline

    def collect(self) -> Iterator[Metric]:
        workers = CounterMetricFamily(
            "compofa_worker_failures", "Engine workers that failed and were replaced."
        )
        workers.add_metric([], self._pipeline.worker_failures)
        batches = CounterMetricFamily(
            "compofa_failed_batches",
            "Runs of several requests that failed; each was then tried alone.",
        )
        batches.add_metric([], self._pipeline.failed_batches)
        compilations = CounterMetricFamily(
            "compofa_compile_failures", "Subnets that could not be compiled whole."
        )
        compilations.add_metric([], self._pipeline.engine.compile_failures)
        yield workers
        yield batches
        yield compilations


class _Workers(Collector):
    """What the processes of workers take, which those of the gateway's own say nothing of."""

    def __init__(self, pipeline: Gauged) -> None:
        self._pipeline = pipeline

    def collect(self) -> Iterator[Metric]:
        memory = GaugeMetricFamily(
            "compofa_worker_resident_memory_bytes",
            "Of a worker's process; pages that processes share count in each.",
            labels=["worker"],
        )
        cpu = CounterMetricFamily(
            "compofa_worker_cpu_seconds",
            "Processor time of a worker's process.",
            labels=["worker"],
        )
        for number, pid in self._pipeline.engine.processes().items():
            if (taken := taken_by(pid)) is not None:
                memory.add_metric([str(number)], taken.resident_bytes)
                cpu.add_metric([str(number)], taken.cpu_seconds)
        yield memory
        yield cpu


class Followed(Protocol):
    """The part of a store's follower that gauges read."""

    @property
    def up(self) -> bool: ...

    @property
    def staleness_s(self) -> float: ...

    @property
    def refused(self) -> Mapping[str, RefusedTableError]: ...

    @property
    def lost(self) -> frozenset[str]: ...


def add_store_gauges(registry: CollectorRegistry, follower: Followed) -> None:
    """Register what is to be known of the store of latency tables."""
    Gauge(
        "compofa_store_up", "1 where the last look at the store went well.", registry=registry
    ).set_function(lambda: follower.up)
    Gauge(
        "compofa_store_staleness_seconds",
        "Time since the store was last read, or since the start where it never was.",
        registry=registry,
    ).set_function(lambda: follower.staleness_s)
    registry.register(_StoreGauges(follower))


class _StoreGauges(Collector):
    """Which of the store's tables are not served by, as it is at the scrape."""

    def __init__(self, follower: Followed) -> None:
        self._follower = follower

    def collect(self) -> Iterator[Metric]:
        refused = GaugeMetricFamily(
            "compofa_latency_table_refused",
            "1 where the store's current table is refused and the last good one serves on.",
            labels=["device_class", "reason"],
        )
        lost = GaugeMetricFamily(
            "compofa_latency_table_lost",
            "1 where the store has lost the table that is served by.",
            labels=["device_class"],
        )
        for name, error in self._follower.refused.items():
            refused.add_metric([name[:_LONGEST_LABEL], error.reason], 1)
        for name in self._follower.lost:
            lost.add_metric([name], 1)
        yield refused
        yield lost


class _TableGauges(Collector):
    """Age and version of each latency table, as they are at the scrape."""

    def __init__(self, pipeline: Gauged, clock: Callable[[], float]) -> None:
        self._pipeline = pipeline
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        age = GaugeMetricFamily(
            "compofa_latency_table_age_seconds",
            "Time since the latency table was made.",
            labels=["device_class"],
        )
        version = GaugeMetricFamily(
            "compofa_latency_table_version",
            "The latency table's version in the store; 0 where it came with the artifact.",
            labels=["device_class"],
        )
        for info in self._pipeline.device_classes():
            age.add_metric([info.name], max(0.0, self._clock() - info.created.timestamp()))
            version.add_metric([info.name], info.version)
        yield age
        yield version
