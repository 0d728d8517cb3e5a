"""A client of a gateway. `gateway.async_client` has the same for asyncio.

>>> with Client("localhost:50051", Constraints("phone"), deadline_s=0.1) as client:
...     client.infer(Path("bag.png").read_bytes()).label     # doctest: +SKIP
'bag'

Calls that a gateway turned away because it drains, or is full, are tried up to five times while the
deadline lasts, each after the time it names. Safe to use from several threads.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
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

__all__ = ["CallError", "Client", "Constraints", "Credentials", "Fetched", "Inferred", "Reported"]


class Client:
    """One connection to the gateway, or the gateways, at `target` (HOST:PORT).

    `constraints` are those of calls that give none, `deadline_s` the seconds until an answer must
    be there, `credentials` how the gateway is known and what it is shown. Use it as a context
    manager, or `close` it. Raises `ValueError` for credentials that cannot be used, `OSError`.
    """

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
            grpc.insecure_channel(target, CHANNEL_OPTIONS)
            if of_channel is None
            else grpc.secure_channel(target, of_channel, [*CHANNEL_OPTIONS, *shown.channel_options])
        )
        self._stub = gateway_pb2_grpc.SubnetGatewayStub(self._channel)

    def infer(
        self, given: Input, constraints: Constraints | None = None, deadline_s: float | None = None
    ) -> Inferred:
        """The answer for one encoded image, or for the rows of an array. Raises `CallError`, and
        `InvalidRequest` for what cannot be asked."""
        request = infer_request(given, constraints or self._constraints)
        seconds = timeout_s(deadline_s, self._deadline_s)
        with self._calling("Infer", constraints or self._constraints) as call:
            response = self._stub.Infer(request, timeout=seconds, metadata=call.metadata)
            return call.answered(inferred(self.target, response))

    def infer_stream(
        self, given: Iterable[Input], constraints: Constraints | None = None
    ) -> Iterator[Inferred | CallError]:
        """An answer to each, in order, or the error it ended with; each has the deadline from when
        the gateway reads it. `given` is taken from while answers come, in a thread. Raises
        `CallError` where the stream itself ends early, as it does where a gateway drains; and, once
        what came before is answered, what `given` raises, and `InvalidRequest` for one of it that
        cannot be asked."""
        asked, broken = constraints or self._constraints, list[Exception]()

        def requests() -> Iterator[gateway_pb2.InferRequest]:
            try:
                for each in given:
                    yield infer_request(each, asked, self._deadline_s)
            except Exception as error:  # gRPC would make a status of it, and lose it
                broken.append(error)

        with self._calling("InferStream", asked) as call:
            stream = self._stub.InferStream(requests(), metadata=call.metadata)
            try:
                for response in stream:
                    try:
                        yield inferred(self.target, response)
                    except CallError as error:
                        yield error
            finally:
                stream.cancel()
        if broken:
            raise broken[0]

    def select(
        self, constraints: Constraints | None = None, max_resolution: int | None = None
    ) -> gateway_pb2.SelectSubnetResponse:
        """What an idle gateway would answer with. Raises `CallError`."""
        request = select_request(constraints or self._constraints, max_resolution)
        with self._calling("SelectSubnet", constraints or self._constraints) as call:
            return self._stub.SelectSubnet(
                request, timeout=self._deadline_s, metadata=call.metadata
            )

    def device_classes(self) -> list[gateway_pb2.DeviceClass]:
        """The device classes the gateway knows. Raises `CallError`."""
        request = gateway_pb2.ListDeviceClassesRequest()
        with self._calling("ListDeviceClasses") as call:
            response = self._stub.ListDeviceClasses(
                request, timeout=self._deadline_s, metadata=call.metadata
            )
            return list(response.device_classes)

    def report_latency(
        self, device_class: str, measured: Iterable[tuple[str, float]], client: str = ""
    ) -> Reported:
        """Tell the gateway how long subnets took on this device: pairs of subnet id and
        milliseconds. Fewer may be counted than were sent: a gateway bounds a stream's length.
        Raises `CallError`, with UNIMPLEMENTED where the gateway does not learn."""
        requests = report_requests(device_class, measured, client)
        with self._calling("ReportLatency") as call:
            response = self._stub.ReportLatency(
                requests, timeout=self._deadline_s, metadata=call.metadata
            )
            return reported(response)

    def fetch(
        self,
        out: Path,
        constraints: Constraints | None = None,
        format: str = DEFAULT_FORMAT,
        deadline_s: float = DEFAULT_FETCH_DEADLINE_S,
    ) -> Fetched:
        """Bring the subnet that the constraints select into the file `out`, which is the whole new
        one afterwards or as it was before; nothing is sent where it is that one already.

        A stream that breaks is gone on with, and so is, by a later call, what a call that was
        ended has left beside `out`. `deadline_s` is for all of it, the gateway's building too.
        Raises `CallError`, `ValueError` for an `out` that is no file, `OSError`.
        """
        until = time.monotonic() + deadline_s
        with Download(
            self.target, out, format, needed(constraints or self._constraints)
        ) as download:
            while True:
                try:
                    self._receive(download, until)
                    return download.finish()
                except CallError as error:
                    time.sleep(min(download.pause_s(error), max(0.0, until - time.monotonic())))

    def _receive(self, download: Download, until: float) -> None:
        left_s = max(0.0, until - time.monotonic())
        request = download.request()
        with self._calling("FetchSubnet") as call:
            stream = self._stub.FetchSubnet(request, timeout=left_s, metadata=call.metadata)
            try:
                for response in stream:
                    if not download.take(response):
                        return
            finally:
                stream.cancel()

    def _calling(
        self, method: str, asked: Constraints | None = None
    ) -> AbstractContextManager[OutgoingCall]:
        return outgoing(self.target, method, self._metadata, asked)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
