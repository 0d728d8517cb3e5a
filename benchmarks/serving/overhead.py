"""What a gateway adds to the engine: latency of one caller, throughput of sixteen.

    python benchmarks/serving/overhead.py

The same subnets, of ImageNet's size, with the same raw tensor: by the engine alone, in a process
of its own with as many lanes as the gateway has workers, and by a gateway over gRPC on loopback,
the client's work on the same cores included. In turn, for several rounds; medians of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from load import Found, measured
from net import FIXED, imagenet_artifact
from rich.console import Console
from rich.table import Table
from served import METHOD, gateway, infer_request

from gateway.config import ServerConfig
from gateway.engine_opening import settled
from gateway.engines.net import Net
from gateway.engines.opening import cpus, make_backend, make_engine
from supernet.architecture import Architecture

RESULT = Path("benchmarks/results/serving-overhead.json")
IN_FLIGHT = (1, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    artifact = imagenet_artifact()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, gateway(artifact, Path(folder)) as target:
        for subnet in FIXED:
            request = Path(folder) / "request"
            request.write_bytes(infer_request(subnet).SerializeToString())
            asked = ["grpc", target, "--method", METHOD, "--request", str(request)]
            found: dict[tuple[str, int], list[Found]] = {}
            for _ in range(given.rounds):
                for callers in IN_FLIGHT:
                    by_gateway = measured(asked, callers, given.seconds)
                    alone = engine_alone(artifact, subnet, callers, given.seconds)
                    found.setdefault(("gateway", callers), []).append(by_gateway)
                    found.setdefault(("engine", callers), []).append(alone)
            rows += [_row(subnet, who, callers, all_) for (who, callers), all_ in found.items()]
            _print(rows)
    RESULT.write_text(json.dumps({"cores": cpus(), "rows": rows}, indent=1) + "\n", "utf-8")


def engine_alone(artifact: Path, subnet: str, callers: int, seconds: float) -> Found:
    """In a process of its own, with the threads and lanes that a gateway has, as far as so many
    callers keep them busy; one image a run."""
    config = settled(ServerConfig(artifact=artifact), Net(artifact))
    assert config.workers
    lanes = min(callers, config.workers)
    command = [
        sys.executable,
        __file__,
        "--engine",
        str(artifact),
        subnet,
        config.engine,
        str(config.threads),
        str(lanes),
        str(seconds),
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Found(**json.loads(done.stdout))


def _run_engine(
    artifact: str, subnet: str, name: Any, threads: str, lanes: str, seconds: str
) -> None:
    """What `engine_alone` runs: each subnet whole, as a gateway has it once it is hot."""
    arch = Architecture.parse(subnet)
    backend = make_backend(name, threads=int(threads), lanes=int(lanes))
    engine = make_engine(Net(Path(artifact)), backend, 2**30)
    engine.whole.obtain(arch)
    x = np.random.default_rng(0).standard_normal(
        (1, 3, arch.resolution, arch.resolution), np.float32
    )
    taken: list[float] = []
    ends = time.perf_counter() + float(seconds)

    def run() -> None:
        lane = engine.lane()
        lane.run(arch, x)
        while (began := time.perf_counter()) < ends:
            lane.run(arch, x)
            taken.append(time.perf_counter() - began)

    threads = [threading.Thread(target=run) for _ in range(int(lanes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    p50, p99 = np.percentile(np.array(taken) * 1000, (50, 99))
    found = {"answers_per_s": len(taken) / float(seconds), "errors": 0}
    json.dump(found | {"p50_ms": float(p50), "p99_ms": float(p99)}, sys.stdout)


def _row(subnet: str, who: str, callers: int, rounds: list[Found]) -> dict[str, Any]:
    return {
        "subnet": subnet,
        "who": who,
        "in_flight": callers,
        "errors": sum(found.errors for found in rounds),
    } | {
        field: median(getattr(found, field) for found in rounds)
        for field in ("answers_per_s", "p50_ms", "p99_ms")
    }


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table("subnet", "", title=f"One image a request, {os.cpu_count()} cores")
    for heading in ("in flight", "answers/s", "p50 ms", "p99 ms", "errors"):
        table.add_column(heading, justify="right")
    for row in rows:
        figures = (f"{row[name]:.1f}" for name in ("answers_per_s", "p50_ms", "p99_ms"))
        table.add_row(
            row["subnet"], row["who"], str(row["in_flight"]), *figures, str(row["errors"])
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--engine"]:
        _run_engine(*sys.argv[2:])
    else:
        main()
