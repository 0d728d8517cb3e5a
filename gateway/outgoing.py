"""One call of a client: what goes with it, and how its failure is told.

Where the process that a client is part of has OpenTelemetry set up, each call has a span and sends
its context along. Elsewhere OpenTelemetry is not even imported.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc

from gateway.client_values import CallError, Inferred, call_error
from gateway.credentials import Metadata
from gateway.request import Constraints
from protos.compofa.v1 import gateway_pb2

if TYPE_CHECKING:
    from gateway.tracing.client_span import ClientSpan

_SERVICE = gateway_pb2.DESCRIPTOR.services_by_name["SubnetGateway"].full_name


class OutgoingCall:
    """`metadata` goes with it."""

    def __init__(self, metadata: Metadata, span: ClientSpan | None) -> None:
        self.metadata, self._span = metadata, span

    def answered(self, answer: Inferred) -> Inferred:
        """The same; its span says which subnet it was, and what that cost."""
        if self._span is not None:
            self._span.answered(answer)
        return answer


@contextmanager
def outgoing(
    target: str, method: str, metadata: Metadata, asked: Constraints | None = None
) -> Iterator[OutgoingCall]:
    """A call, from before it is sent until its answer is read. Raises `CallError` for what gRPC
    raises within."""
    span = _span(target, method, asked)
    code, message = "CANCELLED", ""  # where it is left before its end
    try:
        yield OutgoingCall(metadata if span is None else span.metadata(metadata), span)
        code = "OK"
    except grpc.RpcError as error:
        told = call_error(target, error)
        code, message = told.code, str(told)
        raise told from None
    except CallError as error:  # by what the answer says
        code, message = error.code, str(error)
        raise
    finally:
        if span is not None:
            span.end(code, message)


def _span(target: str, method: str, asked: Constraints | None) -> ClientSpan | None:
    if "opentelemetry.trace" not in sys.modules:
        return None
    from gateway.tracing.client_span import ClientSpan

    return ClientSpan(f"{_SERVICE}/{method}", target, asked)
