"""`inference.GRPCInferenceService`: the Open Inference Protocol, translated onto the pipeline."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import grpc

from gateway.calls import Call, current_call, streamed_call
from gateway.errors import UnknownModel
from gateway.services import open_inference_messages as messages
from gateway.services.in_order import in_order
from protos.inference import service_pb2 as pb
from protos.inference import service_pb2_grpc
from supernet.version import version

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.pipeline import Pipeline
    from gateway.services.messages import InputLimits
    from gateway.services.tally import Tally, Total

    Context = grpc.aio.ServicerContext[pb.ModelInferRequest, pb.ModelInferResponse]

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
PROBES = frozenset({"ServerLive", "ServerReady", "ModelReady"})
"""Methods that are answered by a gateway that drains, too."""
EXTENSIONS = ("model_configuration", "statistics", "model_repository")


class OpenInference(service_pb2_grpc.GRPCInferenceServiceServicer):
    """One model, the artifact's, in one version. Errors rise as `GatewayError`."""

    def __init__(
        self,
        pipeline: Pipeline,
        limits: InputLimits,
        tally: Tally,
        is_ready: Callable[[], bool],
    ) -> None:
        self._pipeline, self._limits, self._tally = pipeline, limits, tally
        self._is_ready = is_ready
        self._name = pipeline.manifest.name

    async def ServerLive(  # noqa: N802
        self,
        request: pb.ServerLiveRequest,  # noqa: ARG002
        context: object,  # noqa: ARG002
    ) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(  # noqa: N802
        self,
        request: pb.ServerReadyRequest,  # noqa: ARG002
        context: object,  # noqa: ARG002
    ) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._is_ready())

    async def ModelReady(  # noqa: N802
        self,
        request: pb.ModelReadyRequest,
        context: object,  # noqa: ARG002
    ) -> pb.ModelReadyResponse:
        return pb.ModelReadyResponse(
            ready=self._is_ready() and self._serves(request.name, request.version)
        )

    async def ServerMetadata(  # noqa: N802
        self,
        request: pb.ServerMetadataRequest,  # noqa: ARG002
        context: object,  # noqa: ARG002
    ) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(
            name=messages.PLATFORM, version=version(), extensions=EXTENSIONS
        )

    async def ModelMetadata(  # noqa: N802
        self,
        request: pb.ModelMetadataRequest,
        context: object,  # noqa: ARG002
    ) -> pb.ModelMetadataResponse:
        self._check(request)
        return messages.metadata_response(self._pipeline.manifest)

    async def ModelConfig(  # noqa: N802
        self,
        request: pb.ModelConfigRequest,
        context: object,  # noqa: ARG002
    ) -> pb.ModelConfigResponse:
        self._check(request)
        return messages.config_response(self._pipeline.manifest, self._pipeline.max_batch)

    async def ModelStatistics(  # noqa: N802
        self,
        request: pb.ModelStatisticsRequest,
        context: object,  # noqa: ARG002
    ) -> pb.ModelStatisticsResponse:
        if request.name:
            self._check(request)
        return pb.ModelStatisticsResponse(model_stats=[_statistics(self._name, self._tally)])

    async def RepositoryIndex(  # noqa: N802
        self,
        request: pb.RepositoryIndexRequest,
        context: object,  # noqa: ARG002
    ) -> pb.RepositoryIndexResponse:
        ready = self._is_ready()
        model = pb.RepositoryIndexResponse.ModelIndex(
            name=self._name, version=messages.VERSION, state="READY" if ready else "UNAVAILABLE"
        )
        return pb.RepositoryIndexResponse(models=[model] if ready or not request.ready else [])

    async def ModelInfer(  # noqa: N802
        self, request: pb.ModelInferRequest, context: Context
    ) -> pb.ModelInferResponse:
        return await self._infer(request, context, current_call())

    async def ModelStreamInfer(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.ModelInferRequest], context: Context
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        async def answer(request: pb.ModelInferRequest) -> pb.ModelStreamInferResponse:
            with streamed_call() as call:
                response = await self._infer(request, context, call)
                return pb.ModelStreamInferResponse(infer_response=response)
            named = pb.ModelInferResponse(model_name=request.model_name, id=request.id)
            return pb.ModelStreamInferResponse(error_message=call.error, infer_response=named)

        async for response in in_order(request_iterator, answer, pb.ModelInferRequest.ByteSize):
            yield response

    async def _infer(
        self, request: pb.ModelInferRequest, context: Context, call: Call
    ) -> pb.ModelInferResponse:
        if not self._serves(request.model_name, request.model_version):
            raise UnknownModel(request.model_name, request.model_version, self._name)
        fallback, metadata = self._pipeline.fallback_device_class, context.invocation_metadata()
        constraints = messages.constraints_from(request.parameters, metadata, fallback)
        call.device_class, call.message_id = constraints.device_class, request.id
        messages.check_outputs(request)
        tensor = messages.tensor_from(request, self._limits)
        deadline_s = messages.deadline_from(request.parameters, context.time_remaining())
        answer = await self._pipeline.infer(tensor, constraints, deadline_s)
        call.answered(answer)
        return messages.infer_response(request, answer, self._pipeline.manifest)

    def _check(
        self, request: pb.ModelMetadataRequest | pb.ModelConfigRequest | pb.ModelStatisticsRequest
    ) -> None:
        """Raise `UnknownModel` where another model, or version of it, is asked about."""
        if not self._serves(request.name, request.version):
            raise UnknownModel(request.name, request.version, self._name)

    def _serves(self, name: str, model_version: str) -> bool:
        return name == self._name and model_version in ("", messages.VERSION)


def _statistics(name: str, tally: Tally) -> pb.ModelStatistics:
    return pb.ModelStatistics(
        name=name,
        version=messages.VERSION,
        last_inference=round(tally.last_at * 1000),
        inference_count=tally.images,
        execution_count=round(tally.runs),
        inference_stats=pb.InferStatistics(
            success=_duration(tally.success),
            fail=_duration(tally.fail),
            queue=_duration(tally.queue),
            compute_input=_duration(tally.around),
            compute_infer=_duration(tally.compute),
            compute_output=pb.StatisticDuration(count=tally.success.count),
        ),
    )


def _duration(total: Total) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=total.count, ns=total.ns)
