"""The client for asyncio: `gateway.client` with coroutines.

>>> async with AsyncClient("localhost:50051", Constraints("phone"), deadline_s=0.1) as client:
...     (await client.infer(Path("bag.png").read_bytes())).label     # doctest: +SKIP
'bag'
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from gateway.client_values import (
    CHANNEL_OPTIONS,
    DEFAULT_DEADLINE_S,
    CallError,
    Inferred,
    Input,
    Reported,
    infer_request,
    inferred,
    needed,
    report_requests,
    reported,
    select_request,
    timeout_s,
)
from gateway.credentials import Credentials
from gateway.exports.key import DEFAULT_FORMAT
from gateway.fetching.download import DEFAULT_FETCH_DEADLINE_S, Download
from gateway.fetching.fetched import Fetched
from gateway.outgoing import OutgoingCall, outgoing
from gateway.request import Constraints
from protos.compofa.v1 import gateway_pb2, gateway_pb2_grpc

__all__ = [
    "AsyncClient",
    "CallError",
    "Constraints",
    "Credentials",
    "Fetched",
    "Inferred",
    "Reported",
]


class AsyncClient:
    """As `gateway.client.Client`. Belongs to one event loop; many calls may be under way at
    once."""

    def __init__(
        self,
        target: str,
        constraints: Constraints | None = None,
        deadline_s: float = DEFAULT_DEADLINE_S,
        credentials: Credentials | None = None,
    ) -> None:
        self.target, self._constraints, self._deadline_s = target, constraints, deadline_s
        shown = credentials or Credentials()
        self._metadata, of_channel = shown.of_call(target), shown.of_channel()
        self._channel = (
            grpc.aio.insecure_channel(target, CHANNEL_OPTIONS)
            if of_channel is None
            else grpc.aio.secure_channel(
                target, of_channel, [*CHANNEL_OPTIONS, *shown.channel_options]
            )
        )
        self._stub = gateway_pb2_grpc.SubnetGatewayStub(self._channel)

    async def infer(
        self, given: Input, constraints: Constraints | None = None, deadline_s: float | None = None
    ) -> Inferred:
        """The answer for one encoded image, or for the rows of an array. Raises `CallError`, and
        `InvalidRequest` for what cannot be asked."""
        request = infer_request(given, constraints or self._constraints)
        seconds = timeout_s(deadline_s, self._deadline_s)
        with self._calling("Infer", constraints or self._constraints) as call:
            response = await self._stub.Infer(request, timeout=seconds, metadata=call.metadata)
            return call.answered(inferred(self.target, response))

    async def infer_stream(
        self,
        given: AsyncIterable[Input] | Iterable[Input],
        constraints: Constraints | None = None,
    ) -> AsyncIterator[Inferred | CallError]:
        """An answer to each, in order, or the error it ended with; each has the deadline from when
        the gateway reads it. Raises `CallError` where the stream itself ends early, as it does
        where a gateway drains; and, once what came before is answered, what `given` raises, and
        `InvalidRequest` for one of it that cannot be asked."""
        asked, broken = constraints or self._constraints, list[Exception]()

        async def requests() -> AsyncIterator[gateway_pb2.InferRequest]:
            try:
                async for each in _each(given):
                    yield infer_request(each, asked, self._deadline_s)
            except Exception as error:  # gRPC would cancel the caller's task, and lose it
                broken.append(error)

        with self._calling("InferStream", asked) as call:
            stream = self._stub.InferStream(requests(), metadata=call.metadata)
            try:
                async for response in stream:
                    try:
                        yield inferred(self.target, response)
                    except CallError as error:
                        yield error
            finally:
                stream.cancel()
        if broken:
            raise broken[0]

    async def select(
        self, constraints: Constraints | None = None, max_resolution: int | None = None
    ) -> gateway_pb2.SelectSubnetResponse:
        """What an idle gateway would answer with. Raises `CallError`."""
        request = select_request(constraints or self._constraints, max_resolution)
        with self._calling("SelectSubnet", constraints or self._constraints) as call:
            return await self._stub.SelectSubnet(
                request, timeout=self._deadline_s, metadata=call.metadata
            )

    async def device_classes(self) -> list[gateway_pb2.DeviceClass]:
        """The device classes the gateway knows. Raises `CallError`."""
        request = gateway_pb2.ListDeviceClassesRequest()
        with self._calling("ListDeviceClasses") as call:
            response = await self._stub.ListDeviceClasses(
                request, timeout=self._deadline_s, metadata=call.metadata
            )
            return list(response.device_classes)

    async def report_latency(
        self, device_class: str, measured: Iterable[tuple[str, float]], client: str = ""
    ) -> Reported:
        """As `gateway.client.Client.report_latency`."""
        requests = report_requests(device_class, measured, client)
        with self._calling("ReportLatency") as call:
            response = await self._stub.ReportLatency(
                requests, timeout=self._deadline_s, metadata=call.metadata
            )
            return reported(response)

    async def fetch(
        self,
        out: Path,
        constraints: Constraints | None = None,
        format: str = DEFAULT_FORMAT,
        deadline_s: float = DEFAULT_FETCH_DEADLINE_S,
    ) -> Fetched:
        """As `gateway.client.Client.fetch`; files are read and written in threads."""
        until = time.monotonic() + deadline_s
        asked = needed(constraints or self._constraints)
        with await asyncio.to_thread(Download, self.target, out, format, asked) as download:
            while True:
                try:
                    await self._receive(download, until)
                    return await asyncio.to_thread(download.finish)
                except CallError as error:
                    pause_s = download.pause_s(error)
                    await asyncio.sleep(min(pause_s, max(0.0, until - time.monotonic())))

    async def _receive(self, download: Download, until: float) -> None:
        left_s = max(0.0, until - time.monotonic())
        request = download.request()
        with self._calling("FetchSubnet") as call:
            stream = self._stub.FetchSubnet(request, timeout=left_s, metadata=call.metadata)
            try:
                async for response in stream:
                    if not await asyncio.to_thread(download.take, response):
                        return
            finally:
                stream.cancel()

    def _calling(
        self, method: str, asked: Constraints | None = None
    ) -> AbstractContextManager[OutgoingCall]:
        return outgoing(self.target, method, self._metadata, asked)

    async def close(self) -> None:
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


async def _each(given: AsyncIterable[Input] | Iterable[Input]) -> AsyncIterator[Input]:
    if isinstance(given, AsyncIterable):
        async for each in given:
            yield each
    else:
        for each in given:
            yield each
