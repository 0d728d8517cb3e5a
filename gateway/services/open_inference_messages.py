"""Between the Open Inference Protocol's messages and the gateway's values, both ways."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from gateway.engines.backend import Dtype
from gateway.errors import InvalidRequest
from gateway.images import ELEMENTS
from gateway.request import Answer, Constraints, TensorInput
from gateway.services.hints import DEVICE_CLASS, NUMBERS, Metadata, constraints_of, metadata_hints
from gateway.services.messages import InputLimits, check_size
from protos.inference import service_pb2 as pb
from supernet.manifest import Manifest

INPUT, OUTPUT, VERSION, PLATFORM = "input", "logits", "1", "compofa"
_US_PER_S = 1_000_000
_TYPES = {"FP32": pb.TYPE_FP32, "INT64": pb.TYPE_INT64}

Parameters = Mapping[str, pb.InferParameter]


def constraints_from(
    parameters: Parameters, metadata: Metadata | None, fallback: str | None
) -> Constraints:
    """The constraints among a request's parameters; what they leave open the metadata say.
    Raises `InvalidRequest`."""
    given = {
        name: _value(parameters[name]) for name in (DEVICE_CLASS, *NUMBERS) if name in parameters
    }
    return constraints_of({**metadata_hints(metadata), **given}, fallback)


def deadline_from(parameters: Parameters, left_s: float | None) -> float | None:
    """Seconds until the answer must be there: Triton's parameter `timeout`, in microseconds, and
    no more than `left_s`; None where there is no deadline. Raises `InvalidRequest`."""
    if "timeout" not in parameters:
        return left_s
    timeout = _value(parameters["timeout"])
    if isinstance(timeout, str | bool) or not 0 <= timeout < math.inf:
        raise InvalidRequest("timeout", timeout, "a number of microseconds")
    if timeout == 0:  # Triton's way to say that there is none
        return left_s
    own_s = timeout / _US_PER_S
    return own_s if left_s is None else min(own_s, left_s)


def tensor_from(request: pb.ModelInferRequest, limits: InputLimits) -> TensorInput:
    """The one input. Raises `InvalidRequest`."""
    if len(request.inputs) != 1:
        raise InvalidRequest("inputs", len(request.inputs), f"one tensor, {INPUT!r}")
    (tensor,) = request.inputs
    if tensor.name != INPUT:
        raise InvalidRequest("inputs[0].name", tensor.name, repr(INPUT))
    if "shared_memory_region" in tensor.parameters:
        region = tensor.parameters["shared_memory_region"].string_param
        raise InvalidRequest("shared_memory_region", region, "a tensor in the request itself")
    raw = _raw(request, limits.tensor_bytes)
    # The protocol has no opinion on values, and perf_analyzer sends random bits.
    return TensorInput(tensor.datatype, tuple(tensor.shape), raw, any_values=True)


def check_outputs(request: pb.ModelInferRequest) -> None:
    """Raise `InvalidRequest` where another output than ours is asked for, or in another form."""
    for output in request.outputs:
        if output.name != OUTPUT:
            raise InvalidRequest("outputs.name", output.name, repr(OUTPUT))
        for unknown in ("classification", "shared_memory_region"):
            if unknown in output.parameters:
                value = _value(output.parameters[unknown])
                raise InvalidRequest(f"outputs.parameters.{unknown}", value, "nothing")


def infer_response(
    request: pb.ModelInferRequest, answer: Answer, manifest: Manifest
) -> pb.ModelInferResponse:
    """Logits in the form that the input had, and what the subnet cost."""
    response = pb.ModelInferResponse(model_name=manifest.name, model_version=VERSION, id=request.id)
    output = response.outputs.add(name=OUTPUT, datatype="FP32", shape=answer.logits.shape)
    if request.raw_input_contents:
        raw = np.ascontiguousarray(answer.logits, dtype="<f4").tobytes()
        response.raw_output_contents.append(raw)
    else:
        output.contents.fp32_contents.extend(answer.logits.ravel().tolist())
    selection, said = answer.selection, response.parameters
    said["subnet"].string_param = selection.subnet
    said["expected_accuracy"].double_param = selection.accuracy
    said["predicted_latency_ms"].double_param = selection.latency_ms
    said["compute_ms"].double_param = answer.compute_ms
    said["queue_ms"].double_param = answer.queue_ms
    said["degraded"].bool_param = selection.degraded
    return response


def metadata_response(manifest: Manifest) -> pb.ModelMetadataResponse:
    """Inputs are said to have the highest resolution; lower ones of the net are taken too."""
    tensor = pb.ModelMetadataResponse.TensorMetadata
    return pb.ModelMetadataResponse(
        name=manifest.name,
        versions=[VERSION],
        platform=PLATFORM,
        inputs=[tensor(name=INPUT, datatype=_dtype(manifest), shape=[-1, *_largest(manifest)])],
        outputs=[tensor(name=OUTPUT, datatype="FP32", shape=[-1, len(manifest.labels)])],
    )


def config_response(manifest: Manifest, max_batch: int) -> pb.ModelConfigResponse:
    """The same as Triton says it."""
    config = pb.ModelConfig(
        name=manifest.name,
        platform=PLATFORM,
        backend=PLATFORM,
        max_batch_size=max_batch,
        input=[
            pb.ModelInput(name=INPUT, data_type=_TYPES[_dtype(manifest)], dims=_largest(manifest))
        ],
        output=[pb.ModelOutput(name=OUTPUT, data_type=pb.TYPE_FP32, dims=[len(manifest.labels)])],
        dynamic_batching=pb.ModelDynamicBatching(),
    )
    return pb.ModelConfigResponse(config=config)


def _dtype(manifest: Manifest) -> Dtype:
    return manifest.design_space.skeleton.inputs.dtype


def _largest(manifest: Manifest) -> tuple[int, ...]:
    space = manifest.design_space
    return space.skeleton.inputs.shape(max(space.resolutions))


def _raw(request: pb.ModelInferRequest, most_bytes: int) -> bytes:
    """The input's bytes, from wherever they are."""
    (tensor,), raw = request.inputs, request.raw_input_contents
    if not raw:
        contents, element = tensor.contents, ELEMENTS.get(tensor.datatype, ELEMENTS["FP32"])
        values = contents.int64_contents if element.kind == "i" else contents.fp32_contents
        check_size("inputs[0].contents", element.itemsize * len(values), most_bytes)
        return np.array(values, element).tobytes()
    if len(raw) != 1 or tensor.HasField("contents"):
        expected = "one for the one input, which then has no contents of its own"
        raise InvalidRequest("raw_input_contents", len(raw), expected)
    check_size("raw_input_contents[0]", len(raw[0]), most_bytes)
    return raw[0]


def _value(parameter: pb.InferParameter) -> str | float | bool:
    kind = parameter.WhichOneof("parameter_choice")
    if kind is None:
        return ""
    value: str | float | bool = getattr(parameter, kind)
    return value
