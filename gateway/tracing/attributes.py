"""What spans say of requests and batches, by names that `docs/observability.md` lists.

Names without `compofa.` are OpenTelemetry's own, of its conventions for RPCs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.calls import Call
    from gateway.request import Answer, Constraints, Selection

RPC_SYSTEM: Final = "rpc.system.name"
RPC_METHOD: Final = "rpc.method"
STATUS_CODE: Final = "rpc.response.status_code"
ERROR_TYPE: Final = "error.type"
SERVER_ADDRESS: Final = "server.address"

REQUEST_ID: Final = "compofa.request_id"
MESSAGE_ID: Final = "compofa.message_id"
DEVICE_CLASS: Final = "compofa.device_class"
LATENCY_BUDGET_MS: Final = "compofa.latency_budget_ms"
MIN_ACCURACY: Final = "compofa.min_accuracy"
SUBNET: Final = "compofa.subnet"
EXPECTED_ACCURACY: Final = "compofa.expected_accuracy"
PREDICTED_LATENCY_MS: Final = "compofa.predicted_latency_ms"
DEGRADED: Final = "compofa.degraded"
BATCH_SIZE: Final = "compofa.batch_size"
BATCH_REQUESTS: Final = "compofa.batch_requests"
QUEUE_MS: Final = "compofa.queue_ms"
COMPUTE_MS: Final = "compofa.compute_ms"
EXPORT_FORMAT: Final = "compofa.export_format"
SENT_BYTES: Final = "compofa.sent_bytes"

Attributes = dict[str, str | bool | int | float]

_LONGEST = 200  # characters of what callers name themselves


def of_rpc(method: str) -> Attributes:
    """`method` with its service, as in `compofa.v1.SubnetGateway/Infer`."""
    return {RPC_SYSTEM: "grpc", RPC_METHOD: method}


def of_status(code: str) -> Attributes:
    """How a call ended: a gRPC status name."""
    return {STATUS_CODE: code} if code == "OK" else {STATUS_CODE: code, ERROR_TYPE: code}


def of_constraints(asked: Constraints) -> Attributes:
    """What a caller asked for; what it left open is not there."""
    found: Attributes = {DEVICE_CLASS: asked.device_class[:_LONGEST]}
    if asked.latency_budget_ms is not None:
        found[LATENCY_BUDGET_MS] = float(asked.latency_budget_ms)
    if asked.min_accuracy is not None:
        found[MIN_ACCURACY] = float(asked.min_accuracy)
    return found


def of_call(call: Call) -> Attributes:
    """All that is known of a call at its end."""
    found: Attributes = {REQUEST_ID: call.request_id, **of_status(call.code)}
    if call.message_id:
        found[MESSAGE_ID] = call.message_id[:_LONGEST]
    if call.device_class:
        found[DEVICE_CLASS] = call.device_class[:_LONGEST]
    if call.constraints is not None:
        found |= of_constraints(call.constraints)
    if call.selection is not None:
        found |= _of_selection(call.selection)
    if call.answer is not None:
        found |= _of_answer(call.answer)
    if call.export_format:
        found |= {EXPORT_FORMAT: call.export_format, SENT_BYTES: call.sent_bytes}
    return found


def _of_selection(selection: Selection) -> Attributes:
    return {
        SUBNET: selection.subnet,
        EXPECTED_ACCURACY: selection.accuracy,
        PREDICTED_LATENCY_MS: selection.latency_ms,
        DEGRADED: selection.degraded,
    }


def _of_answer(answer: Answer) -> Attributes:
    return {
        BATCH_SIZE: answer.batch,
        QUEUE_MS: answer.queue_ms,
        COMPUTE_MS: answer.compute_ms,
    }
