"""Half an hour at 80 % load: errors, and whether memory grows.

    python benchmarks/serving/soak.py [--minutes 30] [--load 0.8]

What a gateway can do with the mix of requests is measured first, then they come at random times at
that share of it: JPEGs and raw tensors, budgets that ask for any subnet of the catalog, a deadline
of a second. Every five seconds the gateway's resident memory is read from its metrics. Printed are
errors by status, latencies, and by how much memory has grown from the second sixth to the last.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import grpc
import numpy as np
from net import DEVICE_CLASS, FIXED, imagenet_artifact
from replay import photographs
from rich.console import Console
from rich.table import Table
from served import gateway, infer_request

from protos.compofa.v1 import gateway_pb2, gateway_pb2_grpc
from supernet.latency import read_bundled_tables

RESULT = Path("benchmarks/results/serving-soak.json")
LOOK_EVERY_S, DEADLINE_S = 5.0, 1.0
IN_FLIGHT, TRYING_S = 32, 15.0
KINDS = 512
_RESIDENT = ("process_resident_memory_bytes ", "compofa_worker_resident_memory_bytes{")
MIB = 2**20


@dataclass(slots=True)
class Seen:
    """Answers' milliseconds, statuses of the rest, and resident bytes at each look."""

    taken_ms: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    resident: list[float] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--load", type=float, default=0.8)
    given = parser.parse_args()
    artifact = imagenet_artifact()
    requests = _requests(artifact)
    with tempfile.TemporaryDirectory() as folder, gateway(artifact, Path(folder)) as target:
        metrics = json.loads((Path(folder) / "ports.json").read_text())["metrics_port"]
        rate = asyncio.run(_capacity(target, requests)) * given.load
        seen = asyncio.run(_soaked(target, metrics, requests, rate, 60 * given.minutes))
    result = {"minutes": given.minutes, "load": given.load, "a_second": rate} | _figures(seen)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    title = f"{given.minutes:g} minutes of {rate:.0f} requests a second, {given.load:.0%} load"
    table = Table("", title=title)
    table.add_column("", justify="right")
    for name, value in result.items():
        if name != "resident_mib":
            table.add_row(name.replace("_", " "), str(value))
    Console(width=120).print(table)


def _requests(artifact: Path) -> list[gateway_pb2.InferRequest]:
    """Of every kind: budgets between the cheapest and the dearest subnet, tensors and pictures."""
    tables = {table.device_class: table for table in read_bundled_tables(artifact)}
    latencies = sorted(tables[DEVICE_CLASS].latency_ms.values())
    rng, pictures = random.Random(0), photographs()
    tensor = infer_request(FIXED[-1]).tensor
    found = []
    for kind in range(KINDS):
        request = gateway_pb2.InferRequest(device_class=DEVICE_CLASS)
        request.latency_budget_ms = rng.uniform(latencies[0], latencies[-1])
        if kind % 2:
            request.image = rng.choice(pictures)
        else:
            request.tensor.CopyFrom(tensor)
        found.append(request)
    return found


async def _capacity(target: str, requests: list[gateway_pb2.InferRequest]) -> float:
    """Answers a second in a closed loop without deadlines."""
    count, until = 0, time.perf_counter() + TRYING_S
    async with grpc.aio.insecure_channel(target) as channel:
        stub, rng = gateway_pb2_grpc.SubnetGatewayStub(channel), random.Random(1)

        async def caller() -> None:
            nonlocal count
            while time.perf_counter() < until:
                await stub.Infer(rng.choice(requests))
                count += 1

        await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
    return count / TRYING_S


async def _soaked(
    target: str,
    metrics_port: int,
    requests: list[gateway_pb2.InferRequest],
    rate: float,
    seconds: float,
) -> Seen:
    seen, rng = Seen(), random.Random(2)
    async with grpc.aio.insecure_channel(target) as channel:
        stub = gateway_pb2_grpc.SubnetGatewayStub(channel)

        async def ask() -> None:
            began = time.perf_counter()
            try:
                await stub.Infer(rng.choice(requests), timeout=DEADLINE_S)
                seen.taken_ms.append((time.perf_counter() - began) * 1000)
            except grpc.aio.AioRpcError as error:
                seen.errors[error.code().name] += 1

        asking: set[asyncio.Task[None]] = set()
        due = look = time.perf_counter()
        until = due + seconds
        while due < until:
            due += rng.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            task = asyncio.create_task(ask())
            asking.add(task)
            task.add_done_callback(asking.discard)
            if time.perf_counter() >= look:
                look += LOOK_EVERY_S
                seen.resident.append(await asyncio.to_thread(_resident_bytes, metrics_port))
        await asyncio.gather(*asking)
    return seen


def _resident_bytes(metrics_port: int) -> float:
    """Of the gateway's process and its workers'; what they share counts in each."""
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=5) as page:
        lines = page.read().decode().splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith(_RESIDENT))


def _figures(seen: Seen) -> dict[str, Any]:
    sixth = max(1, len(seen.resident) // 6)
    early, late = median(seen.resident[sixth : 2 * sixth]), median(seen.resident[-sixth:])
    p50, p99 = np.percentile(seen.taken_ms, (50, 99))
    return {
        "answers": len(seen.taken_ms),
        "errors": dict(seen.errors),
        "p50_ms": round(float(p50), 2),
        "p99_ms": round(float(p99), 2),
        "resident_mib_early": round(early / MIB, 1),
        "resident_mib_late": round(late / MIB, 1),
        "growth_percent": round(100 * (late / early - 1), 2),
        "resident_mib": [round(value / MIB, 1) for value in seen.resident],
    }


if __name__ == "__main__":
    main()
