"""Spans on their way out: counted, and never waited for."""

from __future__ import annotations

import functools
import json
import threading
import time
from collections.abc import Iterator, Sequence
from io import StringIO

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry

from gateway import logs
from gateway.calls import Call, open_call, traced_by
from gateway.tracing import sending
from gateway.tracing.sending import Tracing
from tests.gateway.test_logs import undone

SPANS = 5000  # more than OpenTelemetry's queue has places


class Gate(SpanExporter):
    """A receiver that answers once its gate is open, `result` for ever."""

    def __init__(self) -> None:
        self.result = SpanExportResult.SUCCESS
        self.gate, self.names = threading.Event(), list[str]()
        self.gate.set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        assert self.gate.wait(60)
        self.names += [span.name for span in spans]
        return self.result


@pytest.fixture
def log() -> Iterator[StringIO]:
    text = StringIO()
    with undone():
        logs.configure(text)
        yield text


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.gate.set()


@pytest.fixture
def tracing(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> Tracing:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    return Tracing(gate, Resource.create({}), None)


def ended_call(tracing: Tracing, method: str) -> Call:
    """One call from its begin to its end, as the interceptors make it."""
    traced_by(functools.partial(tracing.requests._begin, method, Context()))
    call = open_call(method, "peer")
    tracing.requests.observe(call)
    return call


def count(registry: CollectorRegistry, result: str) -> float | None:
    return registry.get_sample_value("compofa_trace_spans_total", {"result": result})


def until(registry: CollectorRegistry, result: str, value: float) -> None:
    for _ in range(1000):
        if count(registry, result) == value:
            return
        time.sleep(0.01)
    pytest.fail(f"{result} is {count(registry, result)}, not {value}")


def events(log: StringIO) -> list[str]:
    return [json.loads(line)["event"] for line in log.getvalue().splitlines()]


def test_what_gets_through_is_counted_and_what_does_not_is_said_once(
    tracing: Tracing, gate: Gate, log: StringIO
) -> None:
    registry = CollectorRegistry()
    tracing.add_metrics(registry)
    ended_call(tracing, "first")
    until(registry, "sent", 1)
    gate.result = SpanExportResult.FAILURE
    for lost in (1, 2):
        ended_call(tracing, "lost")
        until(registry, "failed", lost)
    gate.result = SpanExportResult.SUCCESS
    ended_call(tracing, "last")
    until(registry, "sent", 2)
    tracing.close()
    assert gate.names == ["first", "lost", "lost", "last"]
    assert events(log) == [
        "traces do not get through; requests are served as ever",
        "traces are sent again",
    ]
    assert json.loads(log.getvalue().splitlines()[-1])["lost"] == 2
    assert registry.get_sample_value("compofa_trace_spans_made_total") == 4


def test_what_waits_is_sent_at_the_end(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    tracing = Tracing(gate, Resource.create({}), None)
    ended_call(tracing, "only")
    tracing.close()
    assert gate.names == ["only"]


def test_a_receiver_that_holds_on_to_its_answer_holds_up_nobody(
    tracing: Tracing, gate: Gate, log: StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "FLUSH_S", 0.2)
    registry = CollectorRegistry()
    tracing.add_metrics(registry)
    gate.gate.clear()
    for _ in range(SPANS):
        ended_call(tracing, "waits")
    made = registry.get_sample_value("compofa_trace_spans_made_total")
    assert made == SPANS
    assert (count(registry, "sent"), count(registry, "failed")) == (0, 0)
    began = time.monotonic()
    tracing.close()
    assert time.monotonic() - began < 5
    assert events(log) == ["the last traces were not sent"]
