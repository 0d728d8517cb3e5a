"""`grpc.health.v1` in plain text on a port of its own: what probes ask that know no TLS."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2_grpc

from gateway.health import Health
from gateway.security.limits import health_options


class HealthPort:
    """Answers as `servicer` does on the other port; `port` is None until it is started."""

    def __init__(self, servicer: Health, *interceptors: grpc.aio.ServerInterceptor) -> None:
        self._servicer, self._interceptors = servicer, interceptors
        self._grpc: grpc.aio.Server | None = None
        self.port: int | None = None

    async def start(self, address: str) -> None:
        self._grpc = grpc.aio.server(interceptors=self._interceptors, options=health_options())
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, self._grpc)
        self.port = self._grpc.add_insecure_port(address)
        await self._grpc.start()

    async def stop(self) -> None:
        if self._grpc is not None:
            await self._grpc.stop(0)
