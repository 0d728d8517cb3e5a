"""The span of one call of a client, by whatever the process has set OpenTelemetry up with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.trace import SpanKind, Status, StatusCode, get_tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway.tracing import attributes
from supernet.version import version

if TYPE_CHECKING:
    from gateway.client_values import Inferred
    from gateway.credentials import Metadata
    from gateway.request import Constraints

_W3C = TraceContextTextMapPropagator()


class ClientSpan:
    """Begins with its construction, within what is current there. It is not made current itself:
    the body of a stream is its reader's, not ours."""

    def __init__(self, method: str, target: str, asked: Constraints | None) -> None:
        """`method` with its service, as in `compofa.v1.SubnetGateway/Infer`."""
        known = attributes.of_rpc(method) | {attributes.SERVER_ADDRESS: target}
        if asked is not None:
            known |= attributes.of_constraints(asked)
        tracer = get_tracer("compofa.client", version())
        self._span = tracer.start_span(method, kind=SpanKind.CLIENT, attributes=known)

    def metadata(self, given: Metadata) -> Metadata:
        """What is sent with the call besides `given`: the span's context as W3C writes it."""
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, set_span_in_context(self._span))
        return (*given, *carrier.items())

    def answered(self, answer: Inferred) -> None:
        self._span.set_attributes(
            {
                attributes.SUBNET: answer.subnet,
                attributes.EXPECTED_ACCURACY: answer.expected_accuracy,
                attributes.PREDICTED_LATENCY_MS: answer.predicted_latency_ms,
                attributes.DEGRADED: answer.degraded,
            }
        )

    def end(self, code: str, message: str) -> None:
        """The gRPC status name that the call ended in, and one line where that is an error."""
        self._span.set_attributes(attributes.of_status(code))
        if message:
            self._span.set_status(Status(StatusCode.ERROR, message))
        self._span.end()
