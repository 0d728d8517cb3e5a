"""Where spans go: OpenTelemetry's SDK, an OTLP receiver, and what bounds both.

Spans wait in a bounded queue that a thread of the SDK empties. A receiver that is away costs the
spans that do not fit, some log lines, and at the end `FLUSH_S`: never a request its time.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, TraceIdRatioBased
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from gateway import logs
from gateway.tracing.batch_spans import BatchSpans
from gateway.tracing.config import TracingConfig
from gateway.tracing.request_spans import RequestSpans
from supernet.manifest import Manifest
from supernet.version import version

FLUSH_S = 2.0
SERVICE_NAME = "compofa-gateway"
_QUIET = {
    "opentelemetry.exporter": logging.CRITICAL,  # at every attempt; `_Sender` says it once
    "opentelemetry.sdk._shared_internal": logging.ERROR,  # for each span that has no place
    "opentelemetry.trace": logging.ERROR,  # for each caller whose context is none
}
"""Loggers of the SDK that would write, where requests wait for it, what others bring about."""


class Tracing:
    """What a gateway makes spans with: of its `requests`, and of its `batches`."""

    def __init__(self, exporter: SpanExporter, resource: Resource, sampler: Sampler | None) -> None:
        """By `sampler`, or as the variables say."""
        for name, level in _QUIET.items():
            logging.getLogger(name).setLevel(level)
        self._sender = _Sender(exporter)
        self._processor = _Waiting(self._sender)
        # Of its own, not the process's: whoever runs a gateway within theirs keeps their own.
        provider = TracerProvider(sampler, resource, shutdown_on_exit=False)
        provider.add_span_processor(self._processor)
        tracer = provider.get_tracer("compofa.gateway", version())
        self.requests, self.batches = RequestSpans(tracer), BatchSpans(tracer)

    def add_metrics(self, registry: CollectorRegistry) -> None:
        """Register how many spans were made, how many got through, and how many did not."""
        registry.register(self._sender)
        registry.register(self._processor)

    def close(self) -> None:
        """Send what waits, within `FLUSH_S`; what is left then is lost."""
        # The SDK would wait for half a minute, and then for its thread for good.
        flush = threading.Thread(target=self._processor.shutdown, name="traces", daemon=True)
        flush.start()
        flush.join(FLUSH_S)
        if flush.is_alive():
            logs.warn("the last traces were not sent", waited_s=FLUSH_S)


@contextmanager
def tracing(config: TracingConfig, manifest: Manifest) -> Iterator[Tracing]:
    """Traces until the end of the body. Raises `ValueError` for variables that make no sense."""
    try:
        exporter = OTLPSpanExporter(endpoint=config.trace_endpoint)
        sample = config.trace_sample
        sampler = None if sample is None else ParentBased(TraceIdRatioBased(sample))
        opened = Tracing(exporter, _resource(manifest), sampler)
    except Exception as error:  # of whatever kind: the SDK reads its variables itself
        raise ValueError(f"tracing: {error}") from error
    logs.log_event("tracing", endpoint=_endpoint(config), sample=config.trace_sample)
    try:
        yield opened
    finally:
        opened.close()


def _resource(manifest: Manifest) -> Resource:
    """Who makes the spans. What the variables say of it stands above what we do."""
    ours = Resource.create(
        {
            "service.name": SERVICE_NAME,
            "service.version": version(),
            "compofa.artifact": manifest.name,
            "compofa.artifact_hash": manifest.artifact_hash,
        }
    )
    return ours.merge(OTELResourceDetector().detect())


def _endpoint(config: TracingConfig) -> str:
    own = config.trace_endpoint or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return own or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317")


class _Waiting(BatchSpanProcessor, Collector):
    """The SDK's queue, and how many spans were put there. It drops those that do not fit and tells
    nobody: they are what was made and is neither sent, nor failed, nor waits."""

    def __init__(self, sender: SpanExporter) -> None:
        super().__init__(sender)
        self._made, self._numbers = 0, itertools.count(1)

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is not None and span.context.trace_flags.sampled:
            self._made = next(self._numbers)  # in one step: requests and batches end in threads
        super().on_end(span)

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "compofa_trace_spans_made",
            "Spans to be sent. Those compofa_trace_spans_total never has had no place to wait.",
            value=self._made,
        )


class _Sender(SpanExporter, Collector):
    """Passes spans on and counts them. The log says once that they do not get through, and once
    that they do again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._sent = self._failed = self._lost = 0
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self._sent += len(spans)
            if self._failing:
                logs.log_event("traces are sent again", lost=self._lost)
            self._failing, self._lost = False, 0
        else:
            self._failed += len(spans)
            self._lost += len(spans)
            if not self._failing:
                logs.warn("traces do not get through; requests are served as ever")
            self._failing = True
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def collect(self) -> Iterator[Metric]:
        spans = CounterMetricFamily(
            "compofa_trace_spans",
            "Spans that were sent to the receiver of traces, or that it did not take.",
            labels=["result"],
        )
        spans.add_metric(["sent"], self._sent)
        spans.add_metric(["failed"], self._failed)
        yield spans
