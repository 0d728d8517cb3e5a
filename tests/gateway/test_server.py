"""A real server whose event loop is blocked: what probes are told meanwhile, what is counted."""

from __future__ import annotations

import asyncio
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from gateway.config import ServerConfig
from gateway.extras import Extras
from gateway.opening import open_pipeline
from gateway.pipeline import Pipeline
from gateway.security.guard import Guard
from gateway.server import Server

STUCK_AFTER_S = 0.3
LAG = "compofa_event_loop_lag_seconds"


@pytest.fixture
def config(artifact_folder: Path, tmp_path: Path) -> ServerConfig:
    return ServerConfig(
        artifact=artifact_folder,
        port=0,
        metrics_port=0,
        store=f"sqlite://{tmp_path}/tables.sqlite3",
        engine="torch",
        device="cpu",
    )


@pytest.fixture
def pipeline(config: ServerConfig) -> Iterator[Pipeline]:
    with open_pipeline(config) as opened:
        yield opened


def healthz(server: Server) -> int:
    url = f"http://127.0.0.1:{server.metrics_port}/healthz"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


async def test_a_blocked_event_loop_is_told_to_probes_and_counted(
    config: ServerConfig, pipeline: Pipeline
) -> None:
    registry = CollectorRegistry()
    server = Server(config, pipeline, registry, Guard(config.security, config.host), Extras())
    server.heartbeat._stuck_after_s = STUCK_AFTER_S
    beating = asyncio.create_task(server.heartbeat.run())
    await server.start()
    assert await asyncio.to_thread(healthz, server) == 200
    seen: list[int] = []

    def probe() -> None:
        until = time.monotonic() + 20
        while 503 not in seen and time.monotonic() < until:
            seen.append(healthz(server))

    prober = threading.Thread(target=probe)
    prober.start()
    prober.join()  # in the loop's own thread: it is what blocks it
    assert seen[-1] == 503
    await asyncio.sleep(STUCK_AFTER_S)
    assert await asyncio.to_thread(healthz, server) == 200
    assert (registry.get_sample_value(f"{LAG}_sum") or 0.0) >= STUCK_AFTER_S / 2
    beating.cancel()
    with suppress(asyncio.CancelledError):
        await beating
    await server.drain(asyncio.Event())
