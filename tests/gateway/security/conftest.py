"""Real servers behind a guard, around a servicer that answers with who called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from gateway.calls import Call, current_call, streamed_call
from gateway.interceptors import CallInterceptor
from gateway.security.config import SecurityConfig
from gateway.security.guard import Guard
from gateway.security.identities import line_of
from gateway.security.limits import connection_options
from gateway.security.tokens import new_token
from gateway.services.native import SERVICE
from gateway.services.rights import OPEN_METHODS, RIGHTS
from protos.compofa.v1 import gateway_pb2, gateway_pb2_grpc
from tests.certificates import Authority

LARGEST = 1_000_000


class Echo(gateway_pb2_grpc.SubnetGatewayServicer):
    """Says who called, as the subnet; streams say it for each message."""

    async def SelectSubnet(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        return gateway_pb2.SelectSubnetResponse(subnet=current_call().identity)

    async def InferStream(self, request_iterator: Any, context: Any) -> Any:  # noqa: ARG002, N802
        async for request in request_iterator:
            with streamed_call() as call:
                yield gateway_pb2.InferResponse(subnet=call.identity, id=request.id)

    async def FetchSubnet(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        yield gateway_pb2.FetchSubnetResponse(chunk=current_call().identity.encode())

    async def ReportLatency(self, request_iterator: Any, context: Any) -> Any:  # noqa: ARG002, N802
        taken = [request async for request in request_iterator]
        return gateway_pb2.ReportLatencyResponse(taken=len(taken))


@dataclass
class Guarded:
    """A server that runs, what it has seen, and channels to it."""

    port: int
    guard: Guard
    seen: list[Call] = field(default_factory=list)

    @property
    def target(self) -> str:
        return f"localhost:{self.port}"

    def channel(self, credentials: grpc.ChannelCredentials | None = None) -> grpc.aio.Channel:
        """One that shares its connection with no other."""
        alone = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        if credentials is None:
            return grpc.aio.insecure_channel(self.target, alone)
        return grpc.aio.secure_channel(self.target, credentials, alone)


@asynccontextmanager
async def guarded(**options: object) -> AsyncIterator[Guarded]:
    config = SecurityConfig(**options)  # type: ignore[arg-type]
    guard, seen = Guard(config, "127.0.0.1"), list[Call]()
    calls = CallInterceptor([SERVICE, reflection.SERVICE_NAME], LARGEST, [seen.append])
    server = grpc.aio.server(
        interceptors=[calls, *guard.interceptors(OPEN_METHODS, RIGHTS)],
        options=connection_options(config),
    )
    gateway_pb2_grpc.add_SubnetGatewayServicer_to_server(Echo(), server)  # type: ignore[abstract]
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    reflection.enable_server_reflection([SERVICE, reflection.SERVICE_NAME], server)
    port = guard.add_port(server, "127.0.0.1:0")
    await server.start()
    following = asyncio.create_task(guard.run())
    try:
        yield Guarded(port, guard, seen)
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        await server.stop(0)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@dataclass(frozen=True)
class Tokens:
    """A file of tokens, and the tokens by name."""

    file: Path
    of: dict[str, str]


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    """`all` may everything, `infers`, `fetches` and `reports` one thing each."""
    rights: dict[str, list[Any]] = {
        "all": ["infer", "fetch", "report"],
        "infers": ["infer"],
        "fetches": ["fetch"],
        "reports": ["report"],
    }
    made = {name: new_token(name) for name in rights}
    file = tmp_path / "tokens"
    lines = [line_of(name, made[name], given) for name, given in rights.items()]
    file.write_text("\n".join([*lines, "boss.local certificate infer,fetch,report"]) + "\n")
    return Tokens(file, made)
