"""Spans of calls, begun within whatever their caller's metadata say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from gateway.calls import Call, open_call
from gateway.errors import GatewayError, NotAllowed, TooFast, TooManyStrangers, Unauthenticated
from gateway.tracing.request_spans import RequestSpans
from tests.gateway.tracing.spans import Kept

TRACE, SPAN = "ab" * 16, "cd" * 8
METHOD = "compofa.v1.SubnetGateway/Infer"

Metadata = tuple[tuple[str, str | bytes], ...]


async def opened(spans: RequestSpans, *metadata: tuple[str, str | bytes]) -> Call:
    """A call that begins after the interceptor has seen its RPC."""

    async def continuation(details: Any) -> Any:
        return details.method

    details: Any = SimpleNamespace(method=f"/{METHOD}", invocation_metadata=metadata)
    found: Any = await spans.intercept_service(continuation, details)
    assert found == f"/{METHOD}", "what is served stays as it is"
    return open_call("Infer", "peer", "r1")


def parent(trace_id: str = TRACE, flags: str = "01") -> tuple[str, str]:
    return "traceparent", f"00-{trace_id}-{SPAN}-{flags}"


async def test_a_call_goes_on_with_its_caller_s_trace() -> None:
    kept = Kept(sample=0.0)
    spans = RequestSpans(kept.tracer)
    call = await opened(spans, ("x-request-id", "r1"), parent(), ("tracestate", "vendor=x"))
    assert call.trace is not None
    assert call.trace.trace_id == TRACE
    assert kept.count == 0, "it has not ended"
    spans.observe(call)
    (span,) = kept.spans(METHOD)
    assert span.kind is SpanKind.SERVER
    assert span.parent is not None
    assert (f"{span.parent.span_id:016x}", span.parent.is_remote) == (SPAN, True)
    assert span.parent.trace_state["vendor"] == "x"
    assert f"{span.get_span_context().span_id:016x}" == call.trace.span_id  # type: ignore[union-attr]
    assert span.status.status_code is StatusCode.UNSET


async def test_of_several_contexts_the_nearest_holds() -> None:
    call = await opened(RequestSpans(Kept().tracer), parent("11" * 16), parent())
    assert call.trace is not None
    assert call.trace.trace_id == TRACE


@pytest.mark.parametrize("metadata", [(), (("traceparent", b"00"),), (("traceparent", "00-x"),)])
async def test_without_a_context_the_share_decides(metadata: Metadata) -> None:
    for sample, traced in ((1.0, True), (0.0, False)):
        kept = Kept(sample)
        spans = RequestSpans(kept.tracer)
        call = await opened(spans, *metadata)
        spans.observe(call)
        assert call.trace is not None
        assert bool(call.trace.trace_id) == bool(call.trace.span_id) == traced
        assert kept.count == traced


async def test_what_the_caller_does_not_trace_keeps_the_name_of_its_trace() -> None:
    kept = Kept()
    spans = RequestSpans(kept.tracer)
    call = await opened(spans, parent(flags="00"))
    spans.observe(call)
    assert call.trace is not None
    assert (call.trace.trace_id, call.trace.span_id) == (TRACE, "")
    assert kept.count == 0


REFUSALS = [Unauthenticated(), NotAllowed("a", "fetch", ()), TooManyStrangers(1.0)]


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: error.code)
async def test_who_may_not_call_has_no_span_sent(error: GatewayError) -> None:
    kept = Kept(sample=0.0)
    spans = RequestSpans(kept.tracer)
    call = await opened(spans, parent())
    call.failed(error)
    whole = Call("InferStream", "peer")  # a stream that fails as one
    whole.failed(error)
    for each in (call, whole):
        spans.observe(each)
        assert each.trace is not None
        assert (each.trace.trace_id, each.trace.span_id) == (TRACE, "")
    assert kept.count == 0


async def test_a_trace_that_only_a_refused_call_began_is_in_no_line() -> None:
    kept = Kept()
    spans = RequestSpans(kept.tracer)
    call = await opened(spans)
    call.failed(Unauthenticated())
    spans.observe(call)
    assert call.trace is not None
    assert (call.trace.trace_id, call.trace.span_id) == ("", "")
    assert kept.count == 0


async def test_who_may_call_has_its_errors_sent() -> None:
    kept = Kept(sample=0.0)
    spans = RequestSpans(kept.tracer)
    call = await opened(spans, parent())
    call.failed(TooFast(1.0))
    spans.observe(call)
    assert kept.count == 1


async def test_a_call_that_nobody_opened_has_its_span_at_the_end() -> None:
    kept = Kept()
    spans = RequestSpans(kept.tracer)
    await opened(spans)
    failed = Call("InferStream", "peer", code="UNAVAILABLE", error="draining", seconds=2.0)
    spans.observe(failed)
    (span,) = kept.spans(METHOD)
    assert span.end_time is not None
    assert span.start_time is not None
    assert (span.end_time - span.start_time) / 1e9 == pytest.approx(2.0, abs=0.5)
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "draining"
