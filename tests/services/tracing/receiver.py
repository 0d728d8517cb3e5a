"""A receiver of traces: OpenTelemetry's TraceService by grpc.aio, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.redis_server import wait_until

WITHIN_S = 15.0
OK, ERROR = trace_pb2.Status.STATUS_CODE_UNSET, trace_pb2.Status.STATUS_CODE_ERROR
CLIENT, SERVER = trace_pb2.Span.SPAN_KIND_CLIENT, trace_pb2.Span.SPAN_KIND_SERVER


@dataclass(frozen=True)
class Received:
    """One span as it was sent, and the attributes of who sent it."""

    resource: dict[str, Any]
    span: trace_pb2.Span

    @property
    def name(self) -> str:
        return str(self.span.name)

    @property
    def trace_id(self) -> str:
        return str(self.span.trace_id.hex())

    @property
    def id(self) -> str:
        return str(self.span.span_id.hex())

    @property
    def parent(self) -> str:
        """Empty where it has none."""
        return str(self.span.parent_span_id.hex())

    @property
    def links(self) -> list[str]:
        return [link.span_id.hex() for link in self.span.links]

    @property
    def ms(self) -> float:
        return (self.span.end_time_unix_nano - self.span.start_time_unix_nano) / 1e6

    def __getitem__(self, attribute: str) -> Any:
        return _values(self.span.attributes)[attribute]

    def __contains__(self, attribute: str) -> bool:
        return attribute in _values(self.span.attributes)


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps all that is sent; `metadata` are the headers that came with the last of it."""

    def __init__(self) -> None:
        self.port = 0
        self.spans: list[Received] = []
        self.metadata: dict[str, str | bytes] = {}

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def Export(  # noqa: N802
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: Any
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        self.metadata = dict(context.invocation_metadata())
        for each in request.resource_spans:
            resource = _values(each.resource.attributes)
            for scope in each.scope_spans:
                self.spans += [Received(resource, span) for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    def of_trace(self, trace_id: str) -> list[Received]:
        return [span for span in list(self.spans) if span.trace_id == trace_id]

    def trace(self, trace_id: str, count: int) -> list[Received]:
        """The spans of a trace, once there are so many: no more may have come."""
        wait_until(lambda: len(self.of_trace(trace_id)) >= count, WITHIN_S)
        found = self.of_trace(trace_id)
        assert len(found) == count, [span.name for span in found]
        return found


@contextmanager
def receiving(credentials: grpc.ServerCredentials | None = None) -> Iterator[Receiver]:
    """A receiver on a free port until the end of the body, by TLS where there are credentials."""
    receiver, ready = Receiver(), threading.Event()
    ending: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        server = grpc.aio.server()
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(receiver, server)  # type: ignore[no-untyped-call]
        receiver.port = (
            server.add_insecure_port("127.0.0.1:0")
            if credentials is None
            else server.add_secure_port("127.0.0.1:0", credentials)
        )
        await server.start()
        ending.append((asyncio.get_running_loop(), asyncio.Event()))
        ready.set()
        await ending[0][1].wait()
        await server.stop(0)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(WITHIN_S)
        yield receiver
    finally:
        loop, end = ending[0]
        loop.call_soon_threadsafe(end.set)
        thread.join()


def _values(attributes: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in attributes:
        assert isinstance(pair, KeyValue)
        kind = pair.value.WhichOneof("value")
        found[pair.key] = None if kind is None else getattr(pair.value, kind)
    return found
