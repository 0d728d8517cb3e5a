"""`grpc.health.v1`: whether the process lives, and whether its services take requests.

grpcio's own servicer holds a lock while it writes to a watcher, so that one which reads nothing
keeps the others, and a drain, waiting for ever; and to List it answers with a traceback in the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.errors import shown

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

if TYPE_CHECKING:  # generic in the stubs only
    Context = grpc.aio.ServicerContext[Any, Any]


class Health(health_pb2_grpc.HealthServicer):
    """Says that the process, whose name is "", serves, and no service yet. Belongs to one event
    loop."""

    def __init__(self) -> None:
        self._statuses: dict[str, Any] = {"": SERVING}
        self._changed = asyncio.Event()

    def serve(self, services: Iterable[str]) -> None:
        """These take requests from now on."""
        self._set(services, SERVING)

    def drain(self) -> None:
        """Nothing takes any more."""
        self._set(self._statuses, NOT_SERVING)

    async def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        status = self._statuses.get(request.service)
        if status is None:
            said = f"service: {shown(request.service)} is not known"
            await context.abort(grpc.StatusCode.NOT_FOUND, said)
        return health_pb2.HealthCheckResponse(status=status)

    async def List(  # noqa: N802
        self,
        request: object,  # noqa: ARG002
        context: object,  # noqa: ARG002
    ) -> Any:
        check = health_pb2.HealthCheckResponse
        statuses = {name: check(status=status) for name, status in self._statuses.items()}
        listed: Any = health_pb2  # the stubs do not know List yet
        return listed.HealthListResponse(statuses=statuses)

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> None:
        last = None
        while True:
            changed = self._changed
            status = self._statuses.get(request.service, UNKNOWN)
            if status != last:
                await context.write(health_pb2.HealthCheckResponse(status=status))
                last = status
            await changed.wait()

    def _set(self, services: Iterable[str], status: Any) -> None:
        self._statuses |= dict.fromkeys(services, status)
        self._changed.set()  # those who wait look again, and at the next event after that
        self._changed = asyncio.Event()
