"""Between the messages of `compofa.v1` and the gateway's values, both ways. Runs nothing.

Sizes are checked before bytes are looked at; whether an input fits the net is checked elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC

import grpc
import numpy as np

from gateway.calls import Call
from gateway.config import ServerConfig
from gateway.errors import InvalidRequest
from gateway.images import ELEMENTS
from gateway.request import (
    Answer,
    Constraints,
    ImageInput,
    Logits,
    ModelInput,
    Selection,
    TensorInput,
)
from gateway.stores.tables import DeviceClassInfo
from protos.compofa.v1 import gateway_pb2
from supernet.architecture import Architecture
from supernet.manifest import Manifest

_MESSAGE_OVERHEAD = 64 * 1024  # bytes beside the input itself: names, shape, constraints


@dataclass(frozen=True, slots=True)
class InputLimits:
    """The most bytes that a tensor and an encoded image may have."""

    tensor_bytes: int
    image_bytes: int

    @property
    def message_bytes(self) -> int:
        """No request that holds an input within these limits is larger."""
        return max(self.tensor_bytes, self.image_bytes) + _MESSAGE_OVERHEAD


def input_limits(config: ServerConfig, manifest: Manifest) -> InputLimits:
    """The largest inputs: a full batch at the artifact's highest resolution."""
    space = manifest.design_space
    inputs = space.skeleton.inputs
    row = math.prod(inputs.shape(max(space.resolutions))) * ELEMENTS[inputs.dtype].itemsize
    return InputLimits(tensor_bytes=config.max_batch * row, image_bytes=config.max_image_bytes)


def constraints_from(
    message: gateway_pb2.InferRequest
    | gateway_pb2.SelectSubnetRequest
    | gateway_pb2.FetchSubnetRequest,
) -> Constraints:
    """The constraints of a request. Raises `InvalidRequest`."""
    return Constraints(
        message.device_class,
        message.latency_budget_ms if message.HasField("latency_budget_ms") else None,
        message.min_accuracy if message.HasField("min_accuracy") else None,
    )


def input_from(message: gateway_pb2.InferRequest, limits: InputLimits) -> ModelInput:
    """The input of a request. Raises `InvalidRequest` where there is none or it is too large."""
    kind = message.WhichOneof("input")
    if kind == "tensor":
        return _tensor_from(message.tensor, limits.tensor_bytes)
    if kind == "image":
        image = message.image
        check_size("image", len(image), limits.image_bytes)
        return ImageInput(image)
    raise InvalidRequest("input", None, "a tensor or an image")


def deadline_from(message: gateway_pb2.InferRequest, left_s: float | None) -> float | None:
    """Seconds until the answer must be there: the request's own, and no more than the RPC's
    `left_s`; None where there is no deadline. Raises `InvalidRequest`."""
    if not message.HasField("deadline_ms"):
        return left_s
    own_s = message.deadline_ms / 1000
    if not 0 < own_s < math.inf:
        expected = "a positive, finite number of milliseconds"
        raise InvalidRequest("deadline_ms", message.deadline_ms, expected)
    return own_s if left_s is None else min(own_s, left_s)


def failed_response(call: Call, request_id: str) -> gateway_pb2.InferResponse:
    """In a stream: what a call that failed would have ended with."""
    code: int = grpc.StatusCode[call.code].value[0]
    status = gateway_pb2.Status(code=code, message=call.error, retry_after_s=call.retry_after_s)
    return gateway_pb2.InferResponse(id=request_id, status=status)


def infer_response(
    answer: Answer, labels: Sequence[str], request_id: str = ""
) -> gateway_pb2.InferResponse:
    """The answer, with the best class of each row."""
    selection = answer.selection
    return gateway_pb2.InferResponse(
        logits=_tensor_of("logits", answer.logits),
        predictions=[
            gateway_pb2.Prediction(class_index=best, label=labels[best]) for best in answer.classes
        ],
        subnet=selection.subnet,
        expected_accuracy=selection.accuracy,
        predicted_latency_ms=selection.latency_ms,
        compute_ms=answer.compute_ms,
        queue_ms=answer.queue_ms,
        degraded=selection.degraded,
        id=request_id,
    )


def select_response(selection: Selection) -> gateway_pb2.SelectSubnetResponse:
    """The selection, its subnet id spelled out."""
    arch = Architecture.parse(selection.subnet)
    return gateway_pb2.SelectSubnetResponse(
        subnet=selection.subnet,
        expected_accuracy=selection.accuracy,
        predicted_latency_ms=selection.latency_ms,
        resolution=arch.resolution,
        depths=arch.depths,
    )


def device_class_message(info: DeviceClassInfo) -> gateway_pb2.DeviceClass:
    """One device class of a list."""
    return gateway_pb2.DeviceClass(
        name=info.name,
        default_budget_ms=info.default_budget_ms,
        measured=info.measured,
        source=info.source,
        table_version=info.version,
        created=info.created.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        subnets=info.subnets,
        kind=info.kind,
        created_by=info.created_by or "",
        frontier_subnets=info.frontier,
        aliases=info.aliases,
    )


def _tensor_from(tensor: gateway_pb2.Tensor, most_bytes: int) -> TensorInput:
    if tensor.name not in ("", "input"):
        raise InvalidRequest("tensor.name", tensor.name, "'input', or nothing")
    raw = tensor.raw
    check_size("tensor.raw", len(raw), most_bytes)
    return TensorInput(tensor.dtype, tuple(tensor.shape), raw)


def check_size(field: str, size: int, most: int) -> None:
    """Raise `InvalidRequest` where a field has more than `most` bytes."""
    if size > most:
        raise InvalidRequest(field, size, f"at most {most} bytes")


def _tensor_of(name: str, array: Logits) -> gateway_pb2.Tensor:
    raw = np.ascontiguousarray(array, dtype="<f4").tobytes()
    return gateway_pb2.Tensor(name=name, dtype="FP32", shape=array.shape, raw=raw)
