"""What clients send and get, as values: for the synchronous client and for the other."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from numpy.typing import NDArray

from gateway.errors import InvalidRequest
from gateway.request import Answer, Constraints
from protos.compofa.v1 import gateway_pb2

DEFAULT_DEADLINE_S = 30.0
MAX_ATTEMPTS = 5  # the most that gRPC makes: over a second and a half, when proxies know better
_MIB = 1024 * 1024
_SERVICE_CONFIG = {
    # Where a name means several gateways, all of them are used.
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [
                {"service": gateway_pb2.DESCRIPTOR.services_by_name["SubnetGateway"].full_name}
            ],
            "retryPolicy": {
                "maxAttempts": MAX_ATTEMPTS,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                # The others would be the same again; a full gateway says when to come back. With
                # CANCELLED gRPC itself ends what has just reached a server that stops.
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED"],
            },
        }
    ],
}
CHANNEL_OPTIONS: list[tuple[str, int | str]] = [
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.per_rpc_retry_buffer_size", 16 * _MIB),  # what is larger is not tried again
    # A connection that died in silence is noticed, and not more often than a gateway permits.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
]

Input = bytes | NDArray[np.float32]
"""One encoded image, or normalised model input [B, C, R, R]."""


class CallError(ValueError):
    """A gateway turned a call down or could not be reached; one line with the status.

    `code` is the status's name, `retry_after_s` when to come back, where the gateway said so.
    """

    def __init__(
        self, target: str, code: str, message: str, retry_after_s: float | None = None
    ) -> None:
        self.code, self.retry_after_s = code, retry_after_s
        super().__init__(f"{target}: {code}: {message}")


def timeout_s(given: float | None, default: float) -> float:
    """The deadline of a call, in seconds. Raises `InvalidRequest` for what is none."""
    seconds = default if given is None else given
    if not 0 <= seconds < math.inf:
        raise InvalidRequest("deadline_s", seconds, "a finite number of seconds, not below 0")
    return seconds


@dataclass(frozen=True, slots=True)
class Prediction:
    """The best class of one row: its index among the logits, and its name."""

    class_index: int
    label: str


@dataclass(frozen=True, slots=True)
class Inferred:
    """Logits [B, classes], the best class of each row, which subnet made them and what it cost."""

    logits: NDArray[np.float32]
    predictions: tuple[Prediction, ...]
    subnet: str
    expected_accuracy: float
    predicted_latency_ms: float
    compute_ms: float
    queue_ms: float
    degraded: bool

    @classmethod
    def of(cls, answer: Answer, labels: Sequence[str]) -> Inferred:
        """An answer made in this process."""
        return cls(
            logits=answer.logits,
            predictions=tuple(Prediction(index, labels[index]) for index in answer.classes),
            subnet=answer.selection.subnet,
            expected_accuracy=answer.selection.accuracy,
            predicted_latency_ms=answer.selection.latency_ms,
            compute_ms=answer.compute_ms,
            queue_ms=answer.queue_ms,
            degraded=answer.selection.degraded,
        )

    @property
    def label(self) -> str:
        """The name of the first row's best class."""
        return self.predictions[0].label

    def as_json(self) -> dict[str, object]:
        """The object that `infer --json` prints: of the first row."""
        return {
            "subnet": self.subnet,
            "class": self.predictions[0].class_index,
            "label": self.label,
            "expected_accuracy": self.expected_accuracy,
            "predicted_latency_ms": self.predicted_latency_ms,
            "compute_ms": self.compute_ms,
            "queue_ms": self.queue_ms,
            "degraded": self.degraded,
        }


@dataclass(frozen=True, slots=True)
class Reported:
    """What became of reported latencies. `refused` has, by reason, how many, and `messages` what
    was wrong with the first of them."""

    taken: int
    refused: dict[str, int]
    messages: dict[str, str]


def infer_request(
    given: Input, constraints: Constraints | None, deadline_s: float | None = None
) -> gateway_pb2.InferRequest:
    """Raises `InvalidRequest` for an array that is no model input, and without constraints."""
    constraints = needed(constraints)
    request = gateway_pb2.InferRequest(
        device_class=constraints.device_class,
        latency_budget_ms=constraints.latency_budget_ms,
        min_accuracy=constraints.min_accuracy,
        deadline_ms=None if deadline_s is None else deadline_s * 1000,
    )
    if isinstance(given, bytes):
        request.image = given
        return request
    array = np.asarray(given)
    if array.dtype != np.float32 or array.ndim != 4:
        found = f"{array.dtype} {list(array.shape)}"
        raise InvalidRequest("input", found, "bytes of an image, or float32 [B, C, R, R]")
    request.tensor.CopyFrom(
        gateway_pb2.Tensor(name="input", dtype="FP32", shape=array.shape, raw=_little(array))
    )
    return request


def select_request(
    constraints: Constraints | None, max_resolution: int | None
) -> gateway_pb2.SelectSubnetRequest:
    """Raises `InvalidRequest` without constraints."""
    constraints = needed(constraints)
    return gateway_pb2.SelectSubnetRequest(
        device_class=constraints.device_class,
        latency_budget_ms=constraints.latency_budget_ms,
        min_accuracy=constraints.min_accuracy,
        max_resolution=max_resolution,
    )


def inferred(target: str, response: gateway_pb2.InferResponse) -> Inferred:
    """Raises `CallError` where a stream's response says that its request failed."""
    if response.HasField("status"):
        status = response.status
        after_s = status.retry_after_s if status.HasField("retry_after_s") else None
        raise CallError(target, _code_name(status.code), status.message, after_s)
    logits = response.logits
    return Inferred(
        logits=np.frombuffer(logits.raw, "<f4").reshape(tuple(logits.shape)),
        predictions=tuple(Prediction(p.class_index, p.label) for p in response.predictions),
        subnet=response.subnet,
        expected_accuracy=response.expected_accuracy,
        predicted_latency_ms=response.predicted_latency_ms,
        compute_ms=response.compute_ms,
        queue_ms=response.queue_ms,
        degraded=response.degraded,
    )


def report_requests(
    device_class: str, measured: Iterable[tuple[str, float]], client: str
) -> Iterator[gateway_pb2.ReportLatencyRequest]:
    return (
        gateway_pb2.ReportLatencyRequest(
            device_class=device_class, subnet=subnet, latency_ms=latency_ms, client=client
        )
        for subnet, latency_ms in measured
    )


def reported(response: gateway_pb2.ReportLatencyResponse) -> Reported:
    return Reported(
        taken=response.taken,
        refused={reason.reason: reason.reports for reason in response.reasons},
        messages={reason.reason: reason.message for reason in response.reasons},
    )


def call_error(target: str, error: grpc.RpcError) -> CallError:
    """What a stub raised, with its status. What a stub raises is a call as well."""
    call: Any = error
    code = call.code().name if hasattr(call, "code") else "UNKNOWN"
    message = call.details() if hasattr(call, "details") else str(error)
    return CallError(target, code, message or "", _retry_after_s(call))


def _retry_after_s(call: Any) -> float | None:
    try:
        status = rpc_status.from_call(call)
    except (ValueError, AttributeError):  # a status from elsewhere, that does not fit its call
        return None
    retry = error_details_pb2.RetryInfo()
    for detail in status.details if status is not None else ():
        if detail.Unpack(retry):
            seconds: float = retry.retry_delay.ToMilliseconds() / 1000
            return seconds
    return None


def needed(constraints: Constraints | None) -> Constraints:
    """Raises `InvalidRequest` without."""
    if constraints is None:
        raise InvalidRequest("constraints", None, "some, given to the client or to the call")
    return constraints


def _little(array: NDArray[np.float32]) -> bytes:
    return np.ascontiguousarray(array, "<f4").tobytes()


def _code_name(number: int) -> str:
    found = (code.name for code in grpc.StatusCode if code.value[0] == number)
    return next(found, "UNKNOWN")
