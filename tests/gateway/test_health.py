"""Health on a real server, and a watcher whose answer cannot be written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.health import NOT_SERVING, SERVING, UNKNOWN, Health

Asked = health_pb2.HealthCheckRequest
LISTING: Any = health_pb2  # the stubs do not know List yet


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
async def stub(health: Health) -> AsyncIterator[Any]:
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield health_pb2_grpc.HealthStub(channel)
    await server.stop(0)


async def status(stub: Any, service: str) -> Any:
    return (await stub.Check(Asked(service=service))).status


async def test_check_and_list_say_what_serves(health: Health, stub: Any) -> None:
    assert await status(stub, "") == SERVING
    with pytest.raises(grpc.aio.AioRpcError, match="service: 'a' is not known") as caught:
        await status(stub, "a")
    assert caught.value.code() == StatusCode.NOT_FOUND
    health.serve(["a", "b"])
    assert await status(stub, "a") == SERVING
    health.drain()
    listed = (await stub.List(LISTING.HealthListRequest())).statuses
    assert {name: each.status for name, each in listed.items()} == dict.fromkeys(
        ("", "a", "b"), NOT_SERVING
    )


async def test_a_watcher_is_told_of_every_change(health: Health, stub: Any) -> None:
    watch = stub.Watch(Asked(service="a"))
    assert (await watch.read()).status == UNKNOWN
    health.serve(["a"])
    assert (await watch.read()).status == SERVING
    health.drain()
    assert (await watch.read()).status == NOT_SERVING
    watch.cancel()


async def test_a_watcher_that_reads_nothing_keeps_nobody_waiting(health: Health, stub: Any) -> None:
    unread: Any = _Unread()
    stuck = asyncio.create_task(health.Watch(Asked(), unread))
    await asyncio.sleep(0)
    watch = stub.Watch(Asked())
    assert (await asyncio.wait_for(watch.read(), 10)).status == SERVING
    health.drain()
    assert (await asyncio.wait_for(watch.read(), 10)).status == NOT_SERVING
    watch.cancel()
    stuck.cancel()


class _Unread:
    """Of a call whose stream has no window: a write ends with the call."""

    async def write(self, message: object) -> None:  # noqa: ARG002
        await asyncio.Event().wait()
