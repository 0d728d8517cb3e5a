"""A shared store of latency tables: how soon gateways follow it, and what it costs a request.

    PYTHONPATH=. python benchmarks/stores.py [--gateways 10]

Prints one table and writes one JSON file. A real server (Valkey, from a wheel) and gateways run on
this machine, in processes of their own: their number over that of its cores is part of the figures.
Tables are pushed, the server is killed under load and started again, with its data and without;
subnets are then chosen by two gateways in turn, one with this store and one with a file of SQLite.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
from rich.console import Console
from rich.table import Table

from gateway.stores.by_url import open_store
from protos.compofa.v1 import gateway_pb2
from supernet import shipped
from supernet.latency import LatencyTable
from supernet.manifest import read_manifest
from tests.redis_server import RedisServer, wait_until
from tests.services.asking import asking
from tests.services.conftest import Client, GatewayProcess, running
from training.profiles.portable.machine import processor

RESULT = Path("benchmarks/results/stores.json")
ARTIFACT, MANIFEST = shipped.artifact_folder(), read_manifest(shipped.artifact_folder())
REQUEST = gateway_pb2.SelectSubnetRequest(device_class="phone")
PUSHES, RETURNS, WITHIN_S = 10, 5, 30.0
BLOCK, BLOCKS = 200, 20  # requests in a row to one gateway, and turns
Row = dict[str, Any]


class Gateway:
    """One process, and a client of it."""

    def __init__(self, process: GatewayProcess) -> None:
        self.process, self._client = process, Client(process.target)

    def predicted_ms(self) -> float:
        """What every subnet of `phone` takes by the table that is served by."""
        return self._client.stub.SelectSubnet(REQUEST, timeout=10).predicted_latency_ms

    def is_up(self) -> bool:
        """Whether its store is there, by its metrics."""
        return self.process.metric("compofa_store_up") == 1

    def select_ms(self, count: int) -> list[float]:
        """How long so many requests take, one after the other."""
        times = []
        for _ in range(count):
            began = time.perf_counter()
            self._client.stub.SelectSubnet(REQUEST)
            times.append((time.perf_counter() - began) * 1e3)
        return times


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gateways", type=int, default=10)
    parser.add_argument("--result", type=Path, default=RESULT, help=f"{RESULT} by default")
    given = parser.parse_args(arguments)
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder, server = Path(name), RedisServer(Path(name) / "server")
        server.start()
        stack.callback(server.kill)
        push(server.url, 1.0)

        def start(label: str, url: str) -> Gateway:
            (folder / label).mkdir()
            return Gateway(stack.enter_context(running(ARTIFACT, folder / label, "--store", url)))

        gateways = [start(str(i), server.url) for i in range(given.gateways)]
        document: Row = {"hardware": processor(), "gateways": given.gateways}
        document["push_s"] = [pushed(server, gateways, 2.0 + i) for i in range(PUSHES)]
        document |= returned(server, gateways)
        embedded = f"sqlite:///{folder}/tables.sqlite"
        push(embedded, 1.0)
        document["select_ms"] = selected(server, gateways[0], start("embedded", embedded))
    report(document)
    given.result.parent.mkdir(parents=True, exist_ok=True)
    given.result.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def push(url: str, ms: float) -> float:
    """Put a table by which every subnet takes `ms`; when that began."""
    table = LatencyTable(
        device_class="phone",
        artifact_hash=MANIFEST.artifact_hash,
        kind="derived",
        source="benchmarks/stores.py",
        measured=False,
        latency_ms=dict.fromkeys(MANIFEST.catalog.subnets(), ms),
    )

    async def put() -> float:
        store = open_store(url)
        try:
            began = time.perf_counter()
            await store.put(table)
        finally:
            await store.aclose()
        return began

    return asyncio.run(put())


def pushed(server: RedisServer, gateways: Sequence[Gateway], ms: float) -> float:
    """Seconds from the beginning of a push until the last gateway serves by it."""
    return last_to(
        gateways, lambda gateway: gateway.predicted_ms() == ms, lambda: push(server.url, ms)
    )


def returned(server: RedisServer, gateways: Sequence[Gateway]) -> Row:
    """Kill the server under load and start it again, every other time without its data."""
    found: Row = {"return_s": [], "requests": 0, "failed": 0}
    with asking(gateways[0].predicted_ms) as codes:
        for i in range(RETURNS):
            server.kill()
            wait_until(lambda: not any(gateway.is_up() for gateway in gateways), WITHIN_S)
            if i % 2:
                server.forget()

            def start() -> float:
                server.start()  # until it answers
                return time.perf_counter()

            found["return_s"].append(last_to(gateways, Gateway.is_up, start))
            push(server.url, 1.0)
    found["requests"] = len(codes)
    found["failed"] = sum(code is not grpc.StatusCode.OK for code in codes)
    return found


def last_to(
    gateways: Sequence[Gateway], reached: Callable[[Gateway], bool], begin: Callable[[], float]
) -> float:
    """Seconds since `begin` says until the last gateway has reached something, each watched from
    a thread of its own."""
    ends: list[float] = []

    def watch(gateway: Gateway) -> None:
        until = time.perf_counter() + WITHIN_S
        while not reached(gateway):
            if time.perf_counter() > until:
                return
            time.sleep(0.002)
        ends.append(time.perf_counter())

    threads = [threading.Thread(target=watch, args=(gateway,)) for gateway in gateways]
    for thread in threads:
        thread.start()
    began = begin()
    for thread in threads:
        thread.join()
    if len(ends) < len(gateways):
        raise SystemExit(f"{len(gateways) - len(ends)} gateways were not there in {WITHIN_S} s")
    return max(ends) - began


def selected(server: RedisServer, shared: Gateway, embedded: Gateway) -> Row:
    """How long choosing takes, over gRPC: two gateways in turn; then without the server."""
    times: dict[str, list[float]] = {"redis": [], "sqlite": [], "redis, dead": []}
    for gateway in (shared, embedded):
        gateway.select_ms(BLOCK)
    for _ in range(BLOCKS):
        times["redis"] += shared.select_ms(BLOCK)
        times["sqlite"] += embedded.select_ms(BLOCK)
    server.kill()
    wait_until(lambda: not shared.is_up(), WITHIN_S)
    times["sqlite, again"] = []
    for _ in range(BLOCKS):
        times["redis, dead"] += shared.select_ms(BLOCK)
        times["sqlite, again"] += embedded.select_ms(BLOCK)
    return {name: percentiles(ms) for name, ms in times.items()}


def percentiles(ms: Sequence[float]) -> Row:
    hundredths = statistics.quantiles(ms, n=100)
    return {"median": statistics.median(ms), "p99": hundredths[98], "requests": len(ms)}


def report(document: Row) -> None:
    table = Table(title="Gateways and their store", caption=document["hardware"])
    table.add_column("what")
    for heading in ("median", "worst"):
        table.add_column(heading, justify="right")
    count = document["gateways"]
    for name, key in (("a push", "push_s"), ("the store's return", "return_s")):
        seconds = document[key]
        table.add_row(
            f"last of {count} gateways after {name}",
            f"{statistics.median(seconds):.3f} s",
            f"{max(seconds):.3f} s",
        )
    table.add_row(
        f"failed of {document['requests']} requests meanwhile", str(document["failed"]), ""
    )
    for name, found in document["select_ms"].items():
        p99 = f"p99 {found['p99']:.2f} ms"
        table.add_row(f"choosing a subnet, {name}", f"{found['median']:.3f} ms", p99)
    Console(width=100).print(table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
