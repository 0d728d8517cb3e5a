"""What goes with a client's call, within somebody's span and without."""

from __future__ import annotations

import sys

import grpc
import pytest
from opentelemetry.trace import use_span

from gateway.client_values import CallError
from gateway.outgoing import outgoing
from tests.gateway.tracing.spans import Kept

OURS = (("authorization", "Bearer x"),)


class Failed(grpc.RpcError):
    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.NOT_FOUND

    def details(self) -> str:
        return "no such class"


def test_a_span_that_is_current_goes_along() -> None:
    span = Kept().tracer.start_span("app")
    with use_span(span), outgoing("here:1", "Infer", OURS) as call:
        pass
    context = span.get_span_context()
    flags = context.trace_flags
    assert flags.sampled
    sent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags:02x}"
    assert call.metadata == (*OURS, ("traceparent", sent))


def test_without_a_span_nothing_is_added() -> None:
    with outgoing("here:1", "Infer", OURS) as call:
        assert call.metadata == OURS


def test_where_opentelemetry_is_not_imported_it_is_not_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    span = Kept().tracer.start_span("app")
    monkeypatch.delitem(sys.modules, "opentelemetry.trace")
    with use_span(span), outgoing("here:1", "Infer", OURS) as call:
        assert call.metadata is OURS
    assert "opentelemetry.trace" not in sys.modules


@pytest.mark.parametrize("traced", [True, False])
def test_what_grpc_raises_becomes_ours(traced: bool) -> None:
    span = Kept(1.0 if traced else 0.0).tracer.start_span("app")
    with (
        use_span(span),
        pytest.raises(CallError, match="here:1: NOT_FOUND: no such class") as caught,
        outgoing("here:1", "Infer", OURS),
    ):
        raise Failed
    assert caught.value.code == "NOT_FOUND"
    assert caught.value.__suppress_context__


def test_other_errors_pass() -> None:
    with pytest.raises(KeyError), outgoing("here:1", "Infer", OURS):
        raise KeyError("x")
