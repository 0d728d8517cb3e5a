"""What Prometheus can read of a gateway, under the prefix `compofa_`. Knows no wire format.

Counters and histograms are fed with each call as it ends; gauges are read when scraped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, Summary
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway.calls import Call
from gateway.request import Answer
from gateway.table_check import RefusedTableError
from gateway.tables import DeviceClassInfo

_UNKNOWN = "unknown"  # one label for every name that is no device class: callers make those up
_LONGEST_LABEL = 63  # what a damaged store calls a device class may be longer
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_FINE_SECONDS = (0.0001, 0.00025, 0.0005, *_SECONDS)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_RATIOS = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0, 10.0)

Resolve = Callable[[str], str | None]


class CallMetrics:
    """Counts calls, each once, when it has ended, under the device class that `resolve` says a
    name means."""

    def __init__(self, registry: CollectorRegistry, resolve: Resolve) -> None:
        self._resolve = resolve
        by_class = ["device_class"]
        self._requests = Counter(
            "compofa_requests",
            "Requests by device class, gRPC status and method.",
            ["device_class", "code", "method"],
            registry=registry,
        )
        self._seconds = Histogram(
            "compofa_request_seconds",
            "Time from a request's arrival to its answer, whatever its status.",
            by_class,
            buckets=_SECONDS,
            registry=registry,
        )
        self._missed = Counter(
            "compofa_deadlines_missed",
            "Requests that ended in DEADLINE_EXCEEDED.",
            by_class,
            registry=registry,
        )
        self._shed = Counter(
            "compofa_shed",
            "Requests turned away because too many were waiting.",
            by_class,
            registry=registry,
        )
        self._answers = _AnswerMetrics(registry)

    def observe(self, call: Call) -> None:
        """A `CallObserver`."""
        device_class = self._label(call)
        self._requests.labels(device_class, call.code, call.method).inc()
        self._seconds.labels(device_class).observe(call.seconds)
        if call.code == "DEADLINE_EXCEEDED":
            self._missed.labels(device_class).inc()
        elif call.code == "RESOURCE_EXHAUSTED":
            self._shed.labels(device_class).inc()
        if call.answer is not None:
            self._answers.observe(device_class, call.answer)

    def _label(self, call: Call) -> str:
        if not call.device_class:
            return ""
        return self._resolve(call.device_class) or _UNKNOWN


class _AnswerMetrics:
    """What only an answer shows: which subnet, how good, how long."""

    def __init__(self, registry: CollectorRegistry) -> None:
        by_class = ["device_class"]
        self._selected = Counter(
            "compofa_subnets_selected",
            "Answers by the subnet that made them.",
            ["device_class", "subnet"],
            registry=registry,
        )
        self._degraded = Counter(
            "compofa_degraded",
            "Answers by a smaller subnet than the constraints alone would select.",
            by_class,
            registry=registry,
        )
        self._accuracy = Summary(
            "compofa_delivered_accuracy",
            "Expected top-1 accuracy of the answers, from 0 to 1.",
            by_class,
            registry=registry,
        )
        self._queue, self._compute = (
            Histogram(name, text, by_class, buckets=_FINE_SECONDS, registry=registry)
            for name, text in (
                ("compofa_queue_seconds", "Time that answered requests waited."),
                ("compofa_compute_seconds", "Time in the engine of answered requests."),
            )
        )
        self._rows = Histogram(
            "compofa_batch_size",
            "Images that went through the engine together.",
            by_class,
            buckets=_ROWS,
            registry=registry,
        )
        self._ratio = Histogram(
            "compofa_predicted_to_measured_latency_ratio",
            "Latency in the device class's table divided by the engine's time, for single rows: "
            "near 1 where the class is the gateway's own machine.",
            by_class,
            buckets=_RATIOS,
            registry=registry,
        )

    def observe(self, device_class: str, answer: Answer) -> None:
        selection = answer.selection
        self._selected.labels(device_class, selection.subnet).inc()
        self._degraded.labels(device_class).inc(selection.degraded)
        self._accuracy.labels(device_class).observe(selection.accuracy)
        self._queue.labels(device_class).observe(answer.queue_ms / 1000)
        self._compute.labels(device_class).observe(answer.compute_ms / 1000)
        self._rows.labels(device_class).observe(len(answer.logits))
        if len(answer.logits) == 1 and answer.compute_ms > 0:
            self._ratio.labels(device_class).observe(selection.latency_ms / answer.compute_ms)


class _Engine(Protocol):
    @property
    def resident_bytes(self) -> int: ...


class Gauged(Protocol):
    """The part of a pipeline that gauges read."""

    @property
    def pending(self) -> int: ...

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
    Gauge(
        "compofa_resident_bytes", "Weights of the subnets kept in memory.", registry=registry
    ).set_function(lambda: pipeline.engine.resident_bytes)
    registry.register(_TableGauges(pipeline, clock))


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
