"""A real server with health behind the interceptor, and bytes that are no message."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc import StatusCode
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from gateway.probes import LARGEST, ProbeInterceptor

CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
NO_MESSAGE = b"\xff\xff"
SERVING = health_pb2.HealthCheckResponse(status="SERVING").SerializeToString()


@pytest.fixture
async def channel() -> AsyncIterator[Any]:
    """Sends and gets bytes as they are."""
    server = grpc.aio.server(interceptors=[ProbeInterceptor({CHECK, WATCH})])
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(0)


async def refused(call: Any) -> tuple[StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def test_a_message_is_answered(channel: Any) -> None:
    assert await channel.unary_unary(CHECK)(b"") == SERVING
    watch = channel.unary_stream(WATCH)(b"")
    assert await watch.read() == SERVING
    watch.cancel()


@pytest.mark.parametrize("sent", [NO_MESSAGE, bytes(LARGEST + 1)], ids=["no message", "large"])
async def test_what_is_no_message_is_the_sender_s_mistake(
    channel: Any, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    code, says = await refused(channel.unary_unary(CHECK)(sent))
    assert code == StatusCode.INVALID_ARGUMENT
    assert says.startswith("request: expected ")
    assert (await refused(channel.unary_stream(WATCH)(sent).read()))[0] == code
    assert caplog.records == [], "nothing for whoever runs the gateway to look at"
