"""A gateway process: start-up, serving until a signal, bounded drain.

Loads the artifact, reads the store of latency tables and follows it, binds the gRPC and HTTP
ports, says that it is ready, and on SIGTERM or SIGINT lets what is in flight end. What a request
is answered with is not its business.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry

from gateway import logs
from gateway.calls import Call
from gateway.config import ServerConfig
from gateway.debugging.opening import debug_pages
from gateway.engines.net import Net
from gateway.gauges import add_gauges, loop_lag, process_registry
from gateway.health import Health
from gateway.heartbeat import Heartbeat
from gateway.http import HttpServer, application
from gateway.images import ELEMENTS
from gateway.interceptors import CallInterceptor
from gateway.metrics import CallMetrics
from gateway.opening import running_pipeline
from gateway.pipeline import Pipeline
from gateway.ports import check_free, in_address
from gateway.probes import ProbeInterceptor
from gateway.security.guard import Guard
from gateway.security.health_port import HealthPort
from gateway.security.limits import connection_options
from gateway.services import native, open_inference, torchserve
from gateway.services.messages import InputLimits
from gateway.services.rights import OPEN_METHODS, RIGHTS
from gateway.services.tally import Tally
from gateway.stores import by_url as stores
from gateway.stores.table_follower import TableFollower
from gateway.stores.tables import StoreUnavailableError
from gateway.tracing.opening import open_tracing
from protos.compofa.v1.gateway_pb2_grpc import add_SubnetGatewayServicer_to_server
from protos.inference.service_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from protos.torchserve.inference_pb2_grpc import add_InferenceAPIsServiceServicer_to_server
from supernet.manifest import Manifest

if TYPE_CHECKING:  # only gateways that learn, hand out, trace or have a page need them
    from gateway.debugging.pages import DebugPages
    from gateway.exports.handing_out import HandingOut
    from gateway.learning.fleet import Learning
    from gateway.services.report_stream import ReportStreams
    from gateway.tracing.sending import Tracing
    from gateway.ui.live_page import LivePage

_FLUSH_S = 5.0  # at most, for the last answers to leave; a busy machine may need seconds
_QUIET_S, _LINGER_S = 0.5, 5.0
_POLL_S = 0.02
_LOG_SIGNALS = {signal.SIGUSR1: logs.say_more, signal.SIGUSR2: logs.say_less}
_SERVICES = (native.SERVICE, open_inference.SERVICE, torchserve.SERVICE)
_NAMES = (*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)


def serve(config: ServerConfig) -> int:
    """Serve until a signal asks for the end; the exit status.

    Raises `ValueError` for an artifact or store that cannot be read, `UsageError` for a
    certificate or tokens that cannot be served by, `OSError` for a port that cannot be had.
    """
    logs.configure(sys.stderr, config.log_level)
    for number in _LOG_SIGNALS:  # until the loop listens they would end the process
        signal.signal(number, signal.SIG_IGN)
    guard = Guard(config.security, config.host)
    net = Net(config.artifact)
    follower = begin_following(config, net.manifest)
    with open_tracing(config.tracing, net.manifest) as tracing:
        watch = tracing.batches if tracing else None
        with running_pipeline(config, net, follower.classes, watch) as pipeline:
            asyncio.run(_serve(config, pipeline, follower, guard, tracing))
    return 0


def begin_following(config: ServerConfig, manifest: Manifest) -> TableFollower:
    """The device classes as the store has them now, and what will follow it.

    A store that is away must not keep a gateway from starting where tables came with the
    artifact: it serves by those until the store is back. A store that turns this process away
    (a wrong password or certificate) is a mistake in its configuration. Raises `ValueError`.
    """
    fallback = config.fallback_device_class
    follower = stores.table_follower(config.artifact, manifest, config.store, fallback=fallback)
    try:
        asyncio.run(follower.read())
    except StoreUnavailableError as error:
        if not follower.classes.names:
            raise
        follower.gone(error)
    if fallback is not None and follower.classes.resolve(fallback) is None:
        logs.warn("the fallback device class has no latency table yet", device_class=fallback)
    return follower


async def _serve(
    config: ServerConfig,
    pipeline: Pipeline,
    follower: TableFollower,
    guard: Guard,
    tracing: Tracing | None,
) -> None:
    registry = process_registry(pipeline.manifest, follower)
    guard.add_metrics(registry)
    if tracing is not None:
        tracing.add_metrics(registry)
    learning = _learning(config, pipeline, follower, registry)
    exports = _handing_out(config, pipeline, registry)
    reports = learning.streams if learning else None
    debug = debug_pages(pipeline, follower) if config.debug else None
    page = _page(config, pipeline)
    server = Server(config, pipeline, registry, guard, reports, exports, tracing, debug, page)
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    for number, change in _LOG_SIGNALS.items():
        asyncio.get_running_loop().add_signal_handler(number, change)
    async with AsyncExitStack() as beside:
        await beside.enter_async_context(_beside(follower.run()))
        await beside.enter_async_context(_beside(server.heartbeat.run()))
        await beside.enter_async_context(_beside(guard.run()))
        if learning is not None:
            await beside.enter_async_context(_beside(learning.run()))
        if exports is not None:
            await exports.start()
            beside.push_async_callback(exports.close)
        if page is not None:
            await page.start(server.observe, lambda: server.draining)
            beside.push_async_callback(page.close)
        await server.start()
        _announce(config.port_file, server, page)
        await asked.wait()
        logs.log_event("draining", in_flight=server.in_flight)
        asked.clear()
        await server.drain(cut_short=asked)
    logs.log_event("stopped")


def _learning(
    config: ServerConfig, pipeline: Pipeline, follower: TableFollower, registry: CollectorRegistry
) -> Learning | None:
    """What takes reports and moves tables by them, where the configuration asks for it."""
    if config.learning is None:
        return None
    from gateway.learning.fleet import Learning

    manifest, open_store = pipeline.manifest, lambda: stores.open_store(config.store)
    return Learning(config.learning, follower.classes, manifest, open_store, registry)


def _handing_out(
    config: ServerConfig, pipeline: Pipeline, registry: CollectorRegistry
) -> HandingOut | None:
    """What hands out subnets as files, unless the configuration has none of it."""
    if config.exports is None:
        return None
    from gateway.exports.handing_out import HandingOut

    artifact_hash = pipeline.manifest.artifact_hash
    return HandingOut(config.exports, config.artifact, artifact_hash, registry, pipeline.resolve)


def _page(config: ServerConfig, pipeline: Pipeline) -> LivePage | None:
    """The live page, where the configuration asks for it."""
    if config.ui is None:
        return None
    from gateway.ui.live_page import LivePage

    limits = input_limits(config, pipeline.manifest)
    return LivePage(config.ui, pipeline, limits, config.security)


@asynccontextmanager
async def _beside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Work that goes on while the body does, and ends with it."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


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
        reports: ReportStreams | None = None,
        exports: HandingOut | None = None,
        tracing: Tracing | None = None,
        debug: DebugPages | None = None,
        page: LivePage | None = None,
    ) -> None:
        self._config = config
        self._debug = debug
        self._pipeline = pipeline
        self._registry = registry
        self._guard = guard
        self._reports = reports
        limits = input_limits(config, pipeline.manifest)
        metrics = CallMetrics(registry, pipeline.resolve)
        add_gauges(registry, pipeline)
        self.heartbeat = Heartbeat(loop_lag(registry).observe)
        tally = Tally()
        spans = [tracing.requests] if tracing else []
        observers = [
            *(each.observe for each in spans),  # the first, for others name the trace
            metrics.observe,
            tally.observe,
            *([exports.observe] if exports else []),
            *([page.observe] if page else []),
            *([logs.log_call] if config.log_requests else []),
        ]
        self._calls = CallInterceptor(
            (*_SERVICES, reflection.SERVICE_NAME),
            limits.message_bytes,
            observers,
            probes=open_inference.PROBES | torchserve.PROBES,
        )
        self._observers = observers
        probes = ProbeInterceptor(OPEN_METHODS)
        interceptors = [probes, *spans, self._calls, *guard.interceptors(OPEN_METHODS, RIGHTS)]
        self._grpc = grpc.aio.server(interceptors=interceptors, options=_options(config))
        self._health = Health()
        self._health_port = HealthPort(self._health, probes)
        add_SubnetGatewayServicer_to_server(
            native.SubnetGateway(pipeline, limits, reports, exports.streams if exports else None),
            self._grpc,
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
        app = application(self._registry, self._is_ready, self._debug)
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
        if self._reports is not None:
            self._reports.end()
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


def input_limits(config: ServerConfig, manifest: Manifest) -> InputLimits:
    """The largest inputs: a full batch at the artifact's highest resolution, FP32."""
    space = manifest.design_space
    inputs = space.skeleton.inputs
    row = math.prod(inputs.shape(max(space.resolutions))) * ELEMENTS[inputs.dtype].itemsize
    return InputLimits(tensor_bytes=config.max_batch * row, image_bytes=config.max_image_bytes)


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


def _announce(port_file: Path | None, server: Server, page: LivePage | None) -> None:
    """Tell whoever started this process where it listens; the file appears whole or not at all."""
    ports = {"port": server.port, "metrics_port": server.metrics_port}
    if server.health_port is not None:
        ports["health_port"] = server.health_port
    if page is not None:
        ports["ui_port"] = page.port
    if port_file:
        fresh = port_file.with_name(f".{port_file.name}.{os.getpid()}")
        fresh.write_text(json.dumps(ports) + "\n", "utf-8")
        fresh.replace(port_file)
    logs.log_event("ready", **ports)
