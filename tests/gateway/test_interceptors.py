"""A real server around a servicer that fails on demand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from gateway.calls import Call, current_call, streamed_call
from gateway.errors import InvalidRequest, QueueFull
from gateway.interceptors import CallInterceptor
from gateway.services import messages
from gateway.services.native import SERVICE
from protos.compofa.v1 import gateway_pb2, gateway_pb2_grpc
from tests.gateway.following import until

LARGEST = 1000
MOST_STALLED_S = 1.0


class Trouble(gateway_pb2_grpc.SubnetGatewayServicer):
    """Does what the device class of a request says."""

    def __init__(self) -> None:
        self.entered, self.left = asyncio.Event(), asyncio.Event()

    async def SelectSubnet(  # noqa: N802
        self,
        request: gateway_pb2.SelectSubnetRequest,
        context: object,  # noqa: ARG002
    ) -> gateway_pb2.SelectSubnetResponse:
        current_call().device_class = request.device_class
        match request.device_class:
            case "wrong":
                raise InvalidRequest("device_class", "wrong", "a right one")
            case "long":
                raise InvalidRequest("device_class", "long", "x" * 100_000)
            case "full":
                raise QueueFull(retry_after_s=0.25)
            case "broken":
                raise RuntimeError("secret of the house")
            case "slow":
                self.entered.set()
                await asyncio.sleep(30)
        return gateway_pb2.SelectSubnetResponse(subnet="d2@8")

    async def FetchSubnet(  # noqa: N802
        self,
        request: gateway_pb2.FetchSubnetRequest,
        context: object,  # noqa: ARG002
    ) -> AsyncIterator[gateway_pb2.FetchSubnetResponse]:
        current_call().device_class = request.device_class
        try:
            for _ in range(3 if request.device_class == "short" else 10_000):
                yield gateway_pb2.FetchSubnetResponse(chunk=bytes(100_000))
            if request.device_class == "short":
                raise InvalidRequest("device_class", "short", "a longer one")
        finally:
            self.left.set()

    async def InferStream(  # noqa: N802
        self,
        request_iterator: AsyncIterator[gateway_pb2.InferRequest],
        context: object,  # noqa: ARG002
    ) -> AsyncIterator[gateway_pb2.InferResponse]:
        async for request in request_iterator:
            with streamed_call() as call:
                call.device_class = request.device_class
                if request.device_class == "broken":
                    raise RuntimeError("secret of the house")
                if request.device_class == "full":
                    raise QueueFull(retry_after_s=0.25)
            yield messages.failed_response(call, request.id)


class Service:
    """The server's parts that a test looks at, and a client.

    A caller may have a status before the call behind it has ended: look at `seen` through `ended`.
    """

    def __init__(self, channel: grpc.aio.Channel, calls: CallInterceptor) -> None:
        self.channel = channel
        self.calls = calls
        self.trouble = Trouble()  # type: ignore[abstract]
        self.seen: list[Call] = []
        self.stub = gateway_pb2_grpc.SubnetGatewayStub(channel)

    async def ask(self, device_class: str, timeout: float = 10.0) -> str:
        request = gateway_pb2.SelectSubnetRequest(device_class=device_class)
        return (await self.stub.SelectSubnet(request, timeout=timeout)).subnet

    async def error(self, device_class: str, timeout: float = 10.0) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.ask(device_class, timeout)
        return caught.value

    async def ended(self, count: int) -> list[Call]:
        """What was observed, once `count` calls have ended."""
        await until(lambda: len(self.seen) >= count, 5)
        return self.seen

    async def raw_error(self, method: str, request: bytes) -> grpc.aio.AioRpcError:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
        call = self.channel.unary_unary(f"/{SERVICE}/{method}")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(request)
        return caught.value


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    seen: list[Call] = []
    calls = CallInterceptor([SERVICE], LARGEST, [seen.append], most_stalled_s=MOST_STALLED_S)
    server = grpc.aio.server(interceptors=[calls])
    port = server.add_insecure_port("127.0.0.1:0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        service = Service(channel, calls)
        service.seen = seen
        gateway_pb2_grpc.add_SubnetGatewayServicer_to_server(service.trouble, server)
        await server.start()
        yield service
    await server.stop(0)


async def test_an_answer_passes_and_is_observed_once(service: Service) -> None:
    assert await service.ask("fine") == "d2@8"
    (call,) = await service.ended(1)
    assert (call.method, call.device_class, call.code) == ("SelectSubnet", "fine", "OK")
    assert call.seconds > 0
    assert service.calls.in_flight == 0


@pytest.mark.parametrize("device_class", ["fine", "wrong", "full"])
async def test_a_request_has_a_name_that_its_caller_learns(
    service: Service, device_class: str
) -> None:
    request = gateway_pb2.SelectSubnetRequest(device_class=device_class)
    for count, given in enumerate(((), (("x-request-id", "order-17"),)), start=1):
        rpc = service.stub.SelectSubnet(request, metadata=given)
        await rpc.code()
        trailing = dict(await rpc.trailing_metadata())
        assert trailing["x-request-id"] == (await service.ended(count))[-1].request_id
    assert service.seen[0].request_id not in ("", "order-17")
    assert service.seen[1].request_id == "order-17"


async def test_all_of_a_stream_has_the_stream_s_name(service: Service) -> None:
    requests = [gateway_pb2.InferRequest(device_class=name) for name in ("full", "full")]
    stream = service.stub.InferStream(iter(requests), metadata=(("x-request-id", "s1"),))
    assert len([response async for response in stream]) == 2
    assert [call.request_id for call in await service.ended(2)] == ["s1", "s1"]


async def test_our_errors_keep_their_status_and_message(service: Service) -> None:
    error = await service.error("wrong")
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == "device_class: expected a right one, got 'wrong'"
    assert [call.code for call in await service.ended(1)] == ["INVALID_ARGUMENT"]


async def test_a_message_never_outgrows_the_header_it_travels_in(service: Service) -> None:
    error = await service.error("long")
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert len(error.details() or "") == 1000


async def test_a_full_queue_says_when_to_come_back(service: Service) -> None:
    error = await service.error("full")
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    retry = error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == 250


async def test_a_bug_is_bland_outside_and_told_in_the_log(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    error = await service.error("broken")
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "internal error")
    (record,) = (r for r in caplog.records if r.name == "gateway.errors")
    assert record.exc_info is not None
    assert "secret of the house" in str(record.exc_info[1])
    assert await service.ask("fine") == "d2@8"


async def test_a_draining_gateway_takes_no_new_calls(service: Service) -> None:
    service.calls.drain()
    assert (await service.error("fine")).code() == grpc.StatusCode.UNAVAILABLE


async def test_size_is_checked_before_parsing(service: Service) -> None:
    error = await service.error("x" * LARGEST)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == f"request: expected at most {LARGEST} bytes, got {LARGEST + 3}"


async def test_bytes_that_are_no_message_are_the_clients_fault(service: Service) -> None:
    error = await service.raw_error("SelectSubnet", b"\xff\xff\xff")
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_unknown_methods_are_unimplemented(service: Service) -> None:
    assert (await service.raw_error("Elsewhere", b"")).code() == grpc.StatusCode.UNIMPLEMENTED


async def test_cancelling_stops_the_work(service: Service) -> None:
    call = asyncio.ensure_future(service.ask("slow"))
    await service.trouble.entered.wait()
    assert service.calls.in_flight == 1
    call.cancel()
    assert [call.code for call in await service.ended(1)] == ["CANCELLED"]
    assert service.calls.in_flight == 0


async def test_a_deadline_that_passes_is_told_from_a_cancellation(service: Service) -> None:
    error = await service.error("slow", timeout=0.2)
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert [call.code for call in await service.ended(1)] == ["DEADLINE_EXCEEDED"]


async def test_an_answer_in_parts_may_fail_after_some(service: Service) -> None:
    parts = service.stub.FetchSubnet(gateway_pb2.FetchSubnetRequest(device_class="short"))
    for _ in range(3):
        part = await parts.read()
        assert isinstance(part, gateway_pb2.FetchSubnetResponse)
    assert await parts.code() == grpc.StatusCode.INVALID_ARGUMENT
    (call,) = await service.ended(1)
    assert (call.method, call.code) == ("FetchSubnet", "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ("cancelled", "CANCELLED"),
        ("late", "DEADLINE_EXCEEDED"),
        ("given up", "UNAVAILABLE"),
        ("stalled", "UNAVAILABLE"),
    ],
)
async def test_an_answer_in_parts_that_is_not_read_ends_in_the_middle_of_a_write(
    service: Service, ends: str, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    request = gateway_pb2.FetchSubnetRequest(device_class="endless")
    parts = service.stub.FetchSubnet(request, timeout=0.5 if ends == "late" else 30)
    await parts.read()
    await asyncio.sleep(0.2)
    assert not service.trouble.left.is_set()
    if ends == "cancelled":
        parts.cancel()
    elif ends == "given up":
        service.calls.give_up()
    async with asyncio.timeout(5):
        await service.trouble.left.wait()
    if ends == "given up":
        with suppress(grpc.aio.AioRpcError):  # what was on its way comes first
            while await parts.read() is not grpc.aio.EOF:
                pass
        assert (await parts.code()).name == code
    assert [call.code for call in await service.ended(1)] == [code]
    assert service.calls.in_flight == 0
    assert caplog.text == ""


async def test_each_message_of_a_stream_is_a_call(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    names = ("fine", "broken", "full", "fine")
    requests = [gateway_pb2.InferRequest(device_class=name, id=name) for name in names]
    stream = service.stub.InferStream(iter(requests))
    answers = [response async for response in stream]
    assert [answer.id for answer in answers] == list(names)
    assert [answer.status.code for answer in answers] == [0, 13, 8, 0]
    assert answers[1].status.message == "internal error"
    assert answers[2].status.retry_after_s == 0.25
    assert [call.code for call in await service.ended(4)] == [
        "OK",
        "INTERNAL",
        "RESOURCE_EXHAUSTED",
        "OK",
    ]
    assert {call.method for call in service.seen} == {"InferStream"}
    assert "secret of the house" in caplog.text
    assert service.calls.in_flight == 0


async def test_a_stream_is_read_no_further_once_the_gateway_drains(service: Service) -> None:
    stream = service.stub.InferStream()
    await stream.write(gateway_pb2.InferRequest(device_class="fine"))
    response = await stream.read()
    assert isinstance(response, gateway_pb2.InferResponse)
    service.calls.drain()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.read()
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert (await service.ended(2))[1].code == "UNAVAILABLE"
    assert service.calls.in_flight == 0


async def test_a_message_that_is_none_ends_its_stream(service: Service) -> None:
    requests = (gateway_pb2.InferRequest(device_class=name) for name in ("fine", "x" * LARGEST))
    stream = service.stub.InferStream(requests)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        [response async for response in stream]
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
