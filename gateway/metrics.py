"""What Prometheus can read of a gateway, under the prefix `compofa_`. Knows no wire format.

Fed with each call as it ends; `gauges.py` has what is read when scraped.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Histogram, Summary

from gateway.calls import Call
from gateway.request import Answer

_UNKNOWN = "unknown"  # one label for every name that is no device class: callers make those up
_LONGEST_LABEL = 63  # what a damaged store calls a device class may be longer
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_FINE_SECONDS = (0.0001, 0.00025, 0.0005, *_SECONDS)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_POINTS = (0.0, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)  # alerts ask for 0.01
_RATIOS = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0, 10.0)

Resolve = Callable[[str], str | None]
Exemplar = dict[str, str] | None
"""One request behind a histogram: the trace that shows it."""


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
        """A `CallObserver`. A fetch is as long as what it hands over: it has metrics of its own."""
        device_class = self._label(call)
        self._requests.labels(device_class, call.code, call.method).inc()
        if call.export_format:
            return
        exemplar = _exemplar(call)
        self._seconds.labels(device_class).observe(call.seconds, exemplar)
        if call.code == "DEADLINE_EXCEEDED":
            self._missed.labels(device_class).inc()
        elif call.code == "RESOURCE_EXHAUSTED" and not call.too_fast:
            self._shed.labels(device_class).inc()
        if call.answer is not None:
            self._answers.observe(device_class, call.answer, exemplar)

    def _label(self, call: Call) -> str:
        if not call.device_class:
            return ""
        return self._resolve(call.device_class) or _UNKNOWN


def _exemplar(call: Call) -> Exemplar:
    """Where a span of the call is sent: OpenMetrics scrapes then carry its ids."""
    trace = call.trace
    if trace is None or not trace.span_id:
        return None
    return {"trace_id": trace.trace_id, "span_id": trace.span_id}


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
        self._given_up = Histogram(
            "compofa_accuracy_given_up",
            "Expected top-1 accuracy that load or a deadline took from an answer, from 0 to 1; 0 "
            "where an idle gateway would have answered by the same subnet.",
            by_class,
            buckets=_POINTS,
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
            "Images that went through the engine together, seen by each answer.",
            by_class,
            buckets=_ROWS,
            registry=registry,
        )
        self._ratio = Histogram(
            "compofa_predicted_to_measured_latency_ratio",
            "Latency in the device class's table divided by the engine's time, where one image ran "
            "alone: near 1 where the class is the gateway's own machine.",
            by_class,
            buckets=_RATIOS,
            registry=registry,
        )

    def observe(self, device_class: str, answer: Answer, exemplar: Exemplar) -> None:
        selection = answer.selection
        self._selected.labels(device_class, selection.subnet).inc()
        self._degraded.labels(device_class).inc(selection.degraded)
        self._accuracy.labels(device_class).observe(selection.accuracy)
        self._given_up.labels(device_class).observe(answer.accuracy_given_up)
        self._queue.labels(device_class).observe(answer.queue_ms / 1000, exemplar)
        self._compute.labels(device_class).observe(answer.compute_ms / 1000, exemplar)
        self._rows.labels(device_class).observe(answer.batch)
        if answer.batch == 1 and answer.compute_ms > 0:
            self._ratio.labels(device_class).observe(selection.latency_ms / answer.compute_ms)
