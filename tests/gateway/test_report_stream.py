"""Streams of reports over the wire: what ends them, and what their clients are told."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from prometheus_client import CollectorRegistry

from gateway.calls import Call
from gateway.config import LearningConfig
from gateway.device_classes import DeviceClasses
from gateway.interceptors import CallInterceptor
from gateway.learning.report_book import ReportBook
from gateway.learning.report_metrics import ReportMetrics, add_report_gauges
from gateway.services.messages import InputLimits
from gateway.services.native import SERVICE, SubnetGateway
from gateway.services.report_stream import ReportStreams
from protos.compofa.v1 import gateway_pb2, gateway_pb2_grpc
from supernet.latency import LatencyTable
from supernet.manifest import Manifest
from tests.gateway.following import until

SUBNET = "d2-2@12"
Request = gateway_pb2.ReportLatencyRequest


class Service:
    """A server that takes reports, and a client of it."""

    def __init__(self, alpha: LatencyTable, manifest: Manifest, **config: object) -> None:
        self.seen: list[Call] = []
        self.registry = CollectorRegistry()
        self.calls = CallInterceptor([SERVICE], 10_000, [self.seen.append])
        learning, key = LearningConfig.model_validate(config), manifest.artifact_hash
        classes = DeviceClasses(manifest, [alpha])
        self.book = ReportBook(classes, key, learning)
        self.streams = ReportStreams(self.book, key, learning, ReportMetrics(self.registry))
        self._at_ms = alpha.latency_ms[SUBNET]

    async def start(self, stack: AsyncExitStack, *, learns: bool = True) -> None:
        server = grpc.aio.server(interceptors=[self.calls])
        port = server.add_insecure_port("127.0.0.1:0")
        pipeline: Any = SimpleNamespace()
        servicer = SubnetGateway(pipeline, InputLimits(1, 1), self.streams if learns else None)
        gateway_pb2_grpc.add_SubnetGatewayServicer_to_server(servicer, server)
        await server.start()
        stack.push_async_callback(server.stop, 0)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
        self.channel, self.stub = channel, gateway_pb2_grpc.SubnetGatewayStub(channel)

    def request(self, **change: Any) -> Request:
        given: dict[str, Any] = {
            "device_class": "alpha",
            "subnet": SUBNET,
            "latency_ms": self._at_ms,
        }
        return Request(**(given | change))

    async def endless(self, pause_s: float) -> AsyncIterator[Request]:
        while True:
            yield self.request()
            await asyncio.sleep(pause_s)

    async def then_silent(self, count: int) -> AsyncIterator[Request]:
        """Where the answer comes in the middle of a write, grpc.aio's client may say INTERNAL."""
        for _ in range(count):
            yield self.request()
        await asyncio.Event().wait()

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


Serve = Callable[..., Any]


@pytest.fixture
async def serve(alpha: LatencyTable, manifest: Manifest) -> AsyncIterator[Serve]:
    async with AsyncExitStack() as stack:

        async def started(*, learns: bool = True, **config: object) -> Service:
            service = Service(alpha, manifest, **config)
            await service.start(stack, learns=learns)
            return service

        yield started


async def error_of(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_the_answer_says_what_was_taken_and_why_not_the_rest(serve: Serve) -> None:
    service: Service = await serve()
    request = service.request
    sent = [
        request(),
        request(latency_ms=math.nan),
        request(latency_ms=-1.0),
        request(subnet="x" * 999),
        request(device_class="gamma"),
        request(client="x" * 200),
        request(artifact_hash="b"),
        request(),
    ]
    answer = await service.stub.ReportLatency(iter(sent))
    assert (answer.taken, answer.refused) == (2, 6)
    assert {r.reason: r.reports for r in answer.reasons} == {
        "latency": 2, "subnet": 1, "device_class": 1, "client": 1, "artifact": 1
    }  # fmt: skip
    said = {r.reason: r.message for r in answer.reasons}
    assert said["latency"].endswith("got nan"), "of the first of them"
    assert all(len(message) < 200 for message in said.values())
    (call,) = service.seen
    assert (call.method, call.code) == ("ReportLatency", "OK")
    assert service.book.clients("alpha") == 1, "one address is one client"


async def test_an_empty_stream_is_answered(serve: Serve) -> None:
    service: Service = await serve()
    answer = await service.stub.ReportLatency(iter([]))
    assert (answer.taken, answer.refused, list(answer.reasons)) == (0, 0, [])


async def test_without_learning_a_client_is_told_at_once(serve: Serve) -> None:
    service: Service = await serve(learns=False)
    error = await error_of(service.stub.ReportLatency(service.then_silent(1), timeout=10))
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED
    assert error.details() == (
        "this gateway does not learn from reports; its option --learn-latency is off"
    )
    await until(lambda: len(service.seen) == 1, 5)
    assert service.seen[0].code == "UNIMPLEMENTED"


async def test_an_endless_stream_is_answered_after_so_many(serve: Serve) -> None:
    service: Service = await serve(max_stream_reports=50)
    answer = await service.stub.ReportLatency(service.then_silent(50), timeout=10)
    assert answer.taken == 50


async def test_a_stream_of_nonsense_is_not_endless_either(serve: Serve) -> None:
    service: Service = await serve(max_stream_reports=50)

    async def nonsense() -> AsyncIterator[Request]:
        for _ in range(50):
            yield Request()
        await asyncio.Event().wait()

    answer = await service.stub.ReportLatency(nonsense(), timeout=10)
    assert (answer.taken, answer.refused) == (0, 50)


async def test_a_stream_that_falls_silent_is_answered(serve: Serve) -> None:
    service: Service = await serve(idle_s=0.2)
    answer = await service.stub.ReportLatency(service.then_silent(3), timeout=10)
    assert answer.taken == 3
    assert 0.2 <= service.seen[0].seconds < 5


async def test_a_stream_that_goes_on_is_not_silent(serve: Serve) -> None:
    service: Service = await serve(idle_s=0.2, max_stream_reports=8)
    answer = await service.stub.ReportLatency(service.endless(pause_s=0.05), timeout=10)
    assert answer.taken == 8
    assert service.seen[0].seconds > 0.3


async def test_a_drain_answers_with_what_was_taken(serve: Serve) -> None:
    service: Service = await serve()
    calls = [service.stub.ReportLatency(service.then_silent(i), timeout=10) for i in (1, 2)]
    await until(lambda: service.value("compofa_latency_reports_total", device_class="alpha",
                                      outcome="taken") == 3, 5)  # fmt: skip
    service.calls.drain()
    service.streams.end()
    assert [(await call).taken for call in calls] == [1, 2]
    error = await error_of(service.stub.ReportLatency(service.then_silent(1), timeout=10))
    assert error.code() == grpc.StatusCode.UNAVAILABLE


async def test_what_was_taken_stays_taken_however_a_stream_ends(serve: Serve) -> None:
    service: Service = await serve()
    call = service.stub.ReportLatency(service.then_silent(2))
    await until(lambda: service.book.series == 1, 5)
    call.cancel()
    await until(lambda: len(service.seen) == 1, 5)
    # gRPC may end a stream's messages before it tells of the cancellation.
    assert service.seen[0].code in ("CANCELLED", "OK")
    error = await error_of(service.stub.ReportLatency(service.then_silent(2), timeout=0.2))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: len(service.seen) == 2, 5)
    assert service.seen[1].code in ("DEADLINE_EXCEEDED", "OK")
    taken = service.value("compofa_latency_reports_total", device_class="alpha", outcome="taken")
    assert taken == 4
    assert service.calls.in_flight == 0


async def test_so_many_streams_are_open_at_once(serve: Serve) -> None:
    service: Service = await serve(max_streams=2)
    calls = [service.stub.ReportLatency(service.then_silent(1), timeout=10) for _ in range(2)]
    await until(lambda: service.calls.in_flight == 2, 5)
    error = await error_of(service.stub.ReportLatency(service.then_silent(1), timeout=10))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    assert status.details[0].Unpack(error_details_pb2.RetryInfo())
    for call in calls:
        call.cancel()
    await until(lambda: service.calls.in_flight == 0, 5)
    assert (await service.stub.ReportLatency(iter([service.request()]))).taken == 1


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"\xff\xff\xff", "a protobuf message"),
        (Request(device_class="x" * 5000).SerializeToString(), "at most 4096 bytes, got 5003"),
    ],
)
async def test_what_is_no_report_ends_the_stream(serve: Serve, bad: bytes, message: str) -> None:
    service: Service = await serve()
    call: grpc.aio.StreamUnaryMultiCallable[bytes, bytes]
    call = service.channel.stream_unary(f"/{SERVICE}/ReportLatency")
    good = service.request().SerializeToString()
    error = await error_of(call(iter([good, bad, good])))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert message in str(error.details())
    assert service.book.series == 1


async def test_metrics_tell_of_reports(serve: Serve) -> None:
    service: Service = await serve()
    learner: Any = SimpleNamespace(drift={"alpha": 1.5})
    add_report_gauges(service.registry, service.book, learner)
    slow = service.request(latency_ms=2 * service.request().latency_ms)
    strangers = (service.request(device_class=f"class-{i}") for i in range(100))
    await service.stub.ReportLatency(iter([service.request(), slow, *strangers]))
    value, alpha = service.value, {"device_class": "alpha"}
    assert value("compofa_latency_reports_total", **alpha, outcome="taken") == 2
    assert value("compofa_reported_to_table_latency_ratio_sum", **alpha) == pytest.approx(3)
    assert value("compofa_latency_report_clients", **alpha) == 1
    assert value("compofa_latency_report_series") == 1
    assert value("compofa_latency_drift_ratio", **alpha) == 1.5
    refused = {"device_class": "unknown", "outcome": "device_class"}
    assert value("compofa_latency_reports_total", **refused) == 100
