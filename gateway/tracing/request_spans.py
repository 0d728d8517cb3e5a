"""A span for each request, from its caller's trace to the status that it ends in.

Each message of a stream is a request. Health, reflection and probes have none, for they are no
calls to `CallInterceptor`.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import grpc
from opentelemetry.context import Context
from opentelemetry.trace import (
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    format_span_id,
    format_trace_id,
    get_current_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway.calls import Call, Trace, begin_trace, traced_by
from gateway.tracing import attributes

if TYPE_CHECKING:  # generic in the stubs only
    from collections.abc import Awaitable, Callable

    Handler = grpc.RpcMethodHandler[Any, Any]
    Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]

_W3C = TraceContextTextMapPropagator()
_FIELDS = frozenset(_W3C.fields)


class RequestSpans(grpc.aio.ServerInterceptor):
    """Stands around all other interceptors, and is told of each call at its end: `observe`. A
    caller's trace is believed before it is known who that is; a call that is refused then leaves
    no span."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        method = handler_call_details.method.removeprefix("/")
        parent = _parent(handler_call_details.invocation_metadata)
        traced_by(functools.partial(self._begin, method, parent))
        return await continuation(handler_call_details)

    def observe(self, call: Call) -> None:
        """A `CallObserver`. A stream that fails as a whole has no span until then."""
        if call.trace is None:
            begin_trace(call)
        if call.trace is None or not call.trace.span_id:
            return
        if call.refused:
            # What never ends is never sent: who may not call has no say in what is.
            call.trace = call.trace.unsent()
            return
        span = call.trace.span
        span.set_attributes(attributes.of_call(call))
        if call.code != "OK":
            span.set_status(Status(StatusCode.ERROR, call.error or call.code))
        span.end()

    def _begin(self, method: str, parent: Context, call: Call) -> None:
        span = self._tracer.start_span(
            method,
            parent,
            SpanKind.SERVER,
            attributes.of_rpc(method),
            start_time=time.time_ns() - round(call.seconds * 1e9),
        )
        own = span.get_span_context()
        recorded = span.is_recording()
        continued = get_current_span(parent).get_span_context().is_valid
        call.trace = Trace(
            span,
            format_trace_id(own.trace_id) if recorded or continued else "",
            format_span_id(own.span_id) if recorded else "",
            continued,
        )


def _parent(metadata: Iterable[tuple[str, str | bytes]] | None) -> Context:
    """What the caller's `traceparent` and `tracestate` say; an empty one where they say nothing.
    Of several the last holds: the proxy's or library's that is nearest."""
    carrier = {n: v for n, v in metadata or () if n in _FIELDS and isinstance(v, str)}
    return _W3C.extract(carrier, Context())
