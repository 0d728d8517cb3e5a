"""TorchServe's `InferenceAPIsService`, translated onto the pipeline: one image a request."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import grpc
from google.protobuf import empty_pb2

from gateway.calls import Call, current_call, streamed_call
from gateway.errors import InvalidRequest, UnknownModel
from gateway.request import ImageInput
from gateway.services.hints import constraints_of, metadata_hints, text_hints
from gateway.services.in_order import in_order
from gateway.services.messages import InputLimits, check_size
from gateway.statuses import status_of
from gateway.torchserve.best_classes import best_classes
from protos.torchserve import inference_pb2 as pb
from protos.torchserve import inference_pb2_grpc

if TYPE_CHECKING:
    from gateway.pipeline import Pipeline

    Context = grpc.aio.ServicerContext[pb.PredictionsRequest, pb.PredictionResponse]

SERVICE = pb.DESCRIPTOR.services_by_name["InferenceAPIsService"].full_name
PROBES = frozenset({"Ping"})
VERSIONS = ("", "1", "1.0")  # TorchServe's own are like the last
_IMAGE_KEYS = ("data", "body")  # TorchServe's handlers look for the image in either


class TorchServe(inference_pb2_grpc.InferenceAPIsServiceServicer):
    """One model, the artifact's. Errors rise as `GatewayError`."""

    def __init__(
        self, pipeline: Pipeline, limits: InputLimits, is_ready: Callable[[], bool]
    ) -> None:
        self._pipeline, self._limits, self._is_ready = pipeline, limits, is_ready

    async def Ping(  # noqa: N802
        self,
        request: empty_pb2.Empty,  # noqa: ARG002
        context: object,  # noqa: ARG002
    ) -> pb.TorchServeHealthResponse:
        status = "Healthy" if self._is_ready() else "Unhealthy"
        return pb.TorchServeHealthResponse(health=json.dumps({"status": status}))

    async def Predictions(  # noqa: N802
        self, request: pb.PredictionsRequest, context: Context
    ) -> pb.PredictionResponse:
        return await self._predict(request, context, current_call())

    async def StreamPredictions(  # noqa: N802
        self, request: pb.PredictionsRequest, context: Context
    ) -> AsyncIterator[pb.PredictionResponse]:
        yield await self._predict(request, context, current_call())

    async def StreamPredictions2(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.PredictionsRequest], context: Context
    ) -> AsyncIterator[pb.PredictionResponse]:
        async def answer(request: pb.PredictionsRequest) -> pb.PredictionResponse:
            with streamed_call() as call:
                return await self._predict(request, context, call)
            response = pb.PredictionResponse(status=status_of(call))
            return _with_sequence(request, response)

        async for response in in_order(request_iterator, answer, pb.PredictionsRequest.ByteSize):
            yield response

    async def _predict(
        self, request: pb.PredictionsRequest, context: Context, call: Call
    ) -> pb.PredictionResponse:
        manifest = self._pipeline.manifest
        if request.model_name != manifest.name or request.model_version not in VERSIONS:
            raise UnknownModel(request.model_name, request.model_version, manifest.name)
        hints = metadata_hints(context.invocation_metadata()) | text_hints(request.input)
        constraints = constraints_of(hints, self._pipeline.fallback_device_class)
        call.device_class = constraints.device_class
        image = _image(request, self._limits)
        answer = await self._pipeline.infer(image, constraints, context.time_remaining())
        call.answered(answer)
        prediction = json.dumps(best_classes(answer.logits[0], manifest.labels)).encode()
        return _with_sequence(request, pb.PredictionResponse(prediction=prediction))


def _image(request: pb.PredictionsRequest, limits: InputLimits) -> ImageInput:
    found = [key for key in _IMAGE_KEYS if key in request.input]
    if not found:
        raise InvalidRequest("input", sorted(request.input), "one encoded image under 'data'")
    data = request.input[found[0]]
    check_size(f"input[{found[0]!r}]", len(data), limits.image_bytes)
    return ImageInput(data)


def _with_sequence(
    request: pb.PredictionsRequest, response: pb.PredictionResponse
) -> pb.PredictionResponse:
    if request.HasField("sequenceId"):
        response.sequenceId = request.sequenceId
    return response
