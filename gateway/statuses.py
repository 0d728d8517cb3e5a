"""What an error becomes on the wire: the one place where errors turn into gRPC statuses."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, cast

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from gateway.calls import Call
from gateway.errors import GatewayError
from gateway.request_ids import HEADER

_DEADLINE_SLACK_S = 0.02  # gRPC ends a call a little before or after its deadline
_LAST_WORD_S = 0.5
_log = logging.getLogger("gateway.errors")

if TYPE_CHECKING:  # generic in the stubs only
    Context = grpc.aio.ServicerContext[Any, Any]


def note(call: Call, error: Exception) -> None:
    """Keep an error in its call, and in the log where it is not one of ours."""
    call.failed(error)
    if not isinstance(error, GatewayError):
        fields = {"method": call.method, "request_id": call.request_id}
        _log.error("internal error", exc_info=error, extra={"fields": fields})


async def abort(context: Context, call: Call, error: Exception) -> NoReturn:
    """End the RPC with the error's status; what is not ours to show stays in the log.

    A status waits behind what a client has not read yet. One that reads nothing does not get it:
    its call is cancelled.
    """
    note(call, error)
    metadata = () if call.retry_after_s is None else _trailing(call)
    with suppress(TimeoutError, grpc.aio.InternalError):  # the latter where the client has gone
        async with asyncio.timeout(_LAST_WORD_S):
            await context.abort(grpc.StatusCode[call.code], call.error, metadata)
    raise asyncio.CancelledError


def status_of(call: Call) -> status_pb2.Status:
    """What a call that failed ends with; with google.rpc.RetryInfo, where the client should come
    back."""
    code: int = grpc.StatusCode[call.code].value[0]
    status = status_pb2.Status(code=code, message=call.error)
    if call.retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(max(1, round(call.retry_after_s * 1000)))
        detail = any_pb2.Any()
        detail.Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        status.details.append(detail)
    return status


def is_late(context: Context) -> bool:
    """Whether a call that is cancelled ends by its deadline."""
    left = cast("float | None", context.time_remaining())  # None where there is no deadline
    return left is not None and left < _DEADLINE_SLACK_S


def _trailing(call: Call) -> Any:
    """The status with its details; and the time to wait as gRPC's own retries read it (gRFC A6)."""
    assert call.retry_after_s is not None
    pushback_ms = max(1, round(call.retry_after_s * 1000))
    status = rpc_status.to_status(status_of(call)).trailing_metadata
    pushback = ("grpc-retry-pushback-ms", str(pushback_ms))
    return (*status, pushback, (HEADER, call.request_id))
