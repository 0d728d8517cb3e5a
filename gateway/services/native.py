"""`compofa.v1.SubnetGateway`: translates, and lets the pipeline do the work."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import grpc

from gateway.calls import Call, current_call, streamed_call
from gateway.errors import InvalidRequest, NotFetching, NotLearning
from gateway.services import messages
from gateway.services.fetch_stream import wanted_from
from gateway.services.in_order import in_order
from protos.compofa.v1 import gateway_pb2, gateway_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.pipeline import Pipeline
    from gateway.services.fetch_stream import FetchStreams
    from gateway.services.report_stream import ReportStreams

    Context = grpc.aio.ServicerContext[gateway_pb2.InferRequest, gateway_pb2.InferResponse]

SERVICE = gateway_pb2.DESCRIPTOR.services_by_name["SubnetGateway"].full_name


class SubnetGateway(gateway_pb2_grpc.SubnetGatewayServicer):
    """The project's own protocol. Errors rise as `GatewayError`; an interceptor maps them."""

    def __init__(
        self,
        pipeline: Pipeline,
        limits: messages.InputLimits,
        reports: ReportStreams | None = None,
        fetches: FetchStreams | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._limits = limits
        self._reports = reports
        self._fetches = fetches

    async def Infer(  # noqa: N802
        self,
        request: gateway_pb2.InferRequest,
        context: Context,
    ) -> gateway_pb2.InferResponse:
        return await self._infer(request, context, current_call())

    async def InferStream(  # noqa: N802
        self,
        request_iterator: AsyncIterator[gateway_pb2.InferRequest],
        context: Context,
    ) -> AsyncIterator[gateway_pb2.InferResponse]:
        async def answer(request: gateway_pb2.InferRequest) -> gateway_pb2.InferResponse:
            with streamed_call() as call:
                return await self._infer(request, context, call)
            return messages.failed_response(call, request.id)

        async for response in in_order(request_iterator, answer, gateway_pb2.InferRequest.ByteSize):
            yield response

    async def _infer(
        self, request: gateway_pb2.InferRequest, context: Context, call: Call
    ) -> gateway_pb2.InferResponse:
        call.device_class, call.message_id = request.device_class, request.id
        constraints = messages.constraints_from(request)
        image = messages.input_from(request, self._limits)
        deadline_s = messages.deadline_from(request, context.time_remaining())
        answer = await self._pipeline.infer(image, constraints, deadline_s)
        call.answered(answer)
        return messages.infer_response(answer, self._pipeline.manifest.labels, request.id)

    async def SelectSubnet(  # noqa: N802
        self,
        request: gateway_pb2.SelectSubnetRequest,
        context: object,  # noqa: ARG002
    ) -> gateway_pb2.SelectSubnetResponse:
        call = current_call()
        call.device_class = request.device_class
        constraints = messages.constraints_from(request)
        resolution = request.max_resolution if request.HasField("max_resolution") else None
        if resolution is not None and resolution < 1:
            raise InvalidRequest("max_resolution", resolution, "a positive number of pixels")
        call.selection = self._pipeline.select(constraints, resolution)
        return messages.select_response(call.selection)

    async def FetchSubnet(  # noqa: N802
        self,
        request: gateway_pb2.FetchSubnetRequest,
        context: object,  # noqa: ARG002
    ) -> AsyncIterator[gateway_pb2.FetchSubnetResponse]:
        if self._fetches is None:
            raise NotFetching
        call = current_call()
        call.device_class = request.device_class
        wanted = wanted_from(request)
        call.export_format = wanted.format
        call.selection = self._pipeline.select(messages.constraints_from(request))
        async with aclosing(self._fetches.parts(call.selection, wanted, call)) as parts:
            async for part in parts:
                yield part

    async def ListDeviceClasses(  # noqa: N802
        self,
        request: gateway_pb2.ListDeviceClassesRequest,  # noqa: ARG002
        context: object,  # noqa: ARG002
    ) -> gateway_pb2.ListDeviceClassesResponse:
        classes = self._pipeline.device_classes()
        return gateway_pb2.ListDeviceClassesResponse(
            device_classes=map(messages.device_class_message, classes)
        )

    async def ReportLatency(  # noqa: N802
        self,
        request_iterator: AsyncIterator[gateway_pb2.ReportLatencyRequest],
        context: grpc.aio.ServicerContext[
            gateway_pb2.ReportLatencyRequest, gateway_pb2.ReportLatencyResponse
        ],
    ) -> gateway_pb2.ReportLatencyResponse:
        if self._reports is None:
            raise NotLearning
        return await self._reports.take(request_iterator, context.peer())
