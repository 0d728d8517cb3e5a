"""A gateway process: start-up, serving until a signal, bounded drain.

Loads the artifact, reads the store of latency tables and follows it, starts the server, and on
SIGTERM or SIGINT lets what is in flight end.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import heap, logs
from gateway.config import ServerConfig
from gateway.engines.net import Net
from gateway.engines.residency import Residency
from gateway.extras import Extras
from gateway.gauges import process_registry
from gateway.opening import running_pipeline
from gateway.pipeline import Pipeline
from gateway.security.guard import Guard
from gateway.server import Server
from gateway.stores import by_url as stores
from gateway.stores.table_follower import TableFollower
from gateway.stores.tables import StoreUnavailableError
from gateway.tracing.opening import open_tracing
from supernet.manifest import Manifest

if TYPE_CHECKING:  # only gateways that trace need it
    from gateway.tracing.sending import Tracing

_LOG = logging.getLogger(__name__)
_LOG_SIGNALS = {signal.SIGUSR1: logs.say_more, signal.SIGUSR2: logs.say_less}


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
    extras = Extras.of(config, pipeline, follower, registry, tracing)
    server = Server(config, pipeline, registry, guard, extras)
    asked = _signals()
    async with AsyncExitStack() as beside:
        for work in (follower.run(), server.heartbeat.run(), guard.run(), heap.kept_trim()):
            await beside.enter_async_context(_beside(work))
        await _start_extras(extras, server, beside)
        await server.start()
        gc.collect()
        gc.freeze()  # what is there now stays: to go through it stops every thread for 40 to 100 ms
        engine = pipeline.engine
        assert isinstance(engine, Residency), "as it was opened"
        _announce(config.port_file, _ports(server, extras), engine.name)
        if not engine.learns_shapes:
            logs.log_event("warm", seconds=0.0)
        await asked.wait()
        logs.log_event("draining", in_flight=server.in_flight)
        asked.clear()
        await server.drain(cut_short=asked)
    logs.log_event("stopped")


def _signals() -> asyncio.Event:
    """What is set by every signal that asks for the end; those about the log are heeded too."""
    asked, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    for number, change in _LOG_SIGNALS.items():
        loop.add_signal_handler(number, change)
    return asked


async def _start_extras(extras: Extras, server: Server, beside: AsyncExitStack) -> None:
    if extras.learning is not None:
        await beside.enter_async_context(_beside(extras.learning.run()))
    if extras.exports is not None:
        await extras.exports.start()
        beside.push_async_callback(extras.exports.close)
    if extras.page is not None:
        await extras.page.start(server.observe, lambda: server.draining)
        beside.push_async_callback(extras.page.close)


@asynccontextmanager
async def _beside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Work that goes on while the body does, and ends with it. What fails is said when it does."""
    task = asyncio.create_task(_told(work))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _told(work: Coroutine[None, None, None]) -> None:
    try:
        await work
    except Exception:
        _LOG.exception("%s has ended", work)


def _ports(server: Server, extras: Extras) -> dict[str, int]:
    """Where it listens, once started."""
    ports = {"port": server.port, "metrics_port": server.metrics_port}
    if server.health_port is not None:
        ports["health_port"] = server.health_port
    if extras.page is not None:
        ports["ui_port"] = extras.page.port
    return ports


def _announce(port_file: Path | None, ports: dict[str, int], engine: str) -> None:
    """Tell whoever started this process; the file appears whole or not at all."""
    if port_file:
        fresh = port_file.with_name(f".{port_file.name}.{os.getpid()}")
        fresh.write_text(json.dumps(ports) + "\n", "utf-8")
        fresh.replace(port_file)
    logs.log_event("ready", engine=engine, **ports)
