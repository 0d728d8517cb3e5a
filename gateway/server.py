"""One gRPC server and what HTTP tells beside it: listens, says that it is ready, drains.

What a request is answered with is not its business, nor when the process ends.
"""

from __future__ import annotations

import asyncio

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry

from gateway import logs
from gateway.calls import Call
from gateway.config import ServerConfig
from gateway.extras import Extras
from gateway.gauges import add_gauges, loop_lag
from gateway.health import Health
from gateway.heartbeat import Heartbeat
from gateway.http import HttpServer, application
from gateway.interceptors import CallInterceptor
from gateway.metrics import CallMetrics
from gateway.pipeline import Pipeline
from gateway.ports import check_free, in_address
from gateway.probes import ProbeInterceptor
from gateway.security.guard import Guard
from gateway.security.health_port import HealthPort
from gateway.security.limits import connection_options
from gateway.services import native, open_inference, torchserve
from gateway.services.messages import InputLimits, input_limits
from gateway.services.rights import OPEN_METHODS, RIGHTS
from gateway.services.tally import Tally
from protos.compofa.v1.gateway_pb2_grpc import add_SubnetGatewayServicer_to_server
from protos.inference.service_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from protos.torchserve.inference_pb2_grpc import add_InferenceAPIsServiceServicer_to_server

_FLUSH_S = 5.0  # at most, for the last answers to leave; a busy machine may need seconds
_QUIET_S, _LINGER_S = 0.5, 5.0
_POLL_S = 0.02
_SERVICES = (native.SERVICE, open_inference.SERVICE, torchserve.SERVICE)
_NAMES = (*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)


class Server:
    """One gRPC server and its HTTP side, around a pipeline.

    `port`, `metrics_port` and, where there is one, `health_port` say where it listens, once
    started.
    """

    def __init__(
        self,
        config: ServerConfig,
        pipeline: Pipeline,
        registry: CollectorRegistry,
        guard: Guard,
        extras: Extras,
    ) -> None:
        self._config, self._guard, self._extras = config, guard, extras
        self._registry = registry
        add_gauges(registry, pipeline)
        self.heartbeat = Heartbeat(loop_lag(registry).observe)
        tally, limits = Tally(), input_limits(config, pipeline.manifest)
        self._observers = [
            *(each.observe for each in extras.spans),  # the first, for others name the trace
            CallMetrics(registry, pipeline.resolve).observe,
            tally.observe,
            *extras.observers,
            *([logs.log_call] if config.log_requests else []),
        ]
        self._calls = CallInterceptor(
            (*_SERVICES, reflection.SERVICE_NAME),
            limits.message_bytes,
            self._observers,
            probes=open_inference.PROBES | torchserve.PROBES,
        )
        probes, access = ProbeInterceptor(OPEN_METHODS), guard.interceptors(OPEN_METHODS, RIGHTS)
        interceptors = [probes, *extras.spans, self._calls, *access]
        self._grpc = grpc.aio.server(interceptors=interceptors, options=_options(config))
        self._health = Health()
        self._health_port = HealthPort(self._health, probes)
        self._add_services(pipeline, limits, tally)

    def _add_services(self, pipeline: Pipeline, limits: InputLimits, tally: Tally) -> None:
        extras = self._extras
        add_SubnetGatewayServicer_to_server(
            native.SubnetGateway(pipeline, limits, extras.reports, extras.fetches), self._grpc
        )
        add_GRPCInferenceServiceServicer_to_server(
            open_inference.OpenInference(pipeline, limits, tally, self._is_ready), self._grpc
        )
        add_InferenceAPIsServiceServicer_to_server(
            torchserve.TorchServe(pipeline, limits, self._is_ready), self._grpc
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        reflection.enable_server_reflection(_NAMES, self._grpc)

    @property
    def in_flight(self) -> int:
        """How many calls are being served."""
        return self._calls.in_flight

    @property
    def draining(self) -> bool:
        return self._calls.draining

    def observe(self, call: Call) -> None:
        """Count and log a call that came by another way than gRPC."""
        for observe in self._observers:
            observe(call)

    async def start(self) -> None:
        """Listen and answer. Raises `OSError` naming the address that cannot be had."""
        config = self._config
        metrics_host, health_port = config.metrics_host or config.host, config.security.health_port
        for host, port in (
            (config.host, config.port),
            (metrics_host, config.metrics_port),
            (config.host, health_port),
        ):
            if port is not None:
                check_free(host, port)
        host = in_address(config.host)
        self.port = self._guard.add_port(self._grpc, f"{host}:{config.port}")
        app = application(self._registry, self._is_ready, self._extras.debug)
        self._http = HttpServer(metrics_host, config.metrics_port, app)
        self.metrics_port = self._http.port
        await self._grpc.start()
        if health_port is not None:
            await self._health_port.start(f"{host}:{health_port}")
        self._health.serve(_SERVICES)

    @property
    def health_port(self) -> int | None:
        return self._health_port.port

    def _is_ready(self) -> bool:
        return not (self._calls.draining or self.heartbeat.is_stuck)

    async def drain(self, cut_short: asyncio.Event) -> None:
        """Turn new calls away and let those in flight end, for the configured grace at most.

        What is left then is turned away too. Setting `cut_short` ends the wait at once.
        """
        self._calls.drain()
        if self._extras.reports is not None:
            self._extras.reports.end()
        self._health.drain()
        await self._until_idle(self._config.grace_s, cut_short)
        self._calls.give_up()
        await self._until_idle(_FLUSH_S, asyncio.Event())
        await self._grpc.stop(_FLUSH_S)
        await self._health_port.stop()
        self._http.close()

    async def _until_idle(self, most_s: float, cut_short: asyncio.Event) -> None:
        """Nothing in flight, and nobody turned away for a while: whoever has not heard yet that the
        gateway drains is told to ask elsewhere. Once it stops, gRPC would tell them CANCELLED."""
        clock = asyncio.get_running_loop().time
        busy_at = called_at = clock()
        until, turned_away = busy_at + most_s, self._calls.turned_away
        while (now := clock()) < until and not cut_short.is_set():
            if self._calls.in_flight:
                busy_at = now
            if self._calls.turned_away != turned_away:
                called_at, turned_away = now, self._calls.turned_away
            if now - max(busy_at, called_at) >= _QUIET_S or now - busy_at >= _LINGER_S:
                return
            await asyncio.sleep(_POLL_S)


def _options(config: ServerConfig) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", config.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),  # a second gateway on the port is a mistake, not a partner
        # Clients may ask every ten seconds whether the connection lives; ours do every thirty.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        *connection_options(config.security),
    ]
