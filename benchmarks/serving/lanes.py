"""How to share the cores among batches: all of them for one, or one for each of several.

    python benchmarks/serving/lanes.py [--rounds 3]

The smallest and the largest subnet of ImageNet's size as chains, at batch 1, 8 and 16. Each way has
as many threads as lanes, which run the same subnet for a second, the ways in turn; printed are
medians of milliseconds a run, and the images a second that all lanes come to.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from net import FIXED, imagenet_artifact
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from gateway.engines.engine import Engine, Lane
from gateway.engines.net import Net
from gateway.engines.opening import BackendName, cpus, make_backend, make_engine
from supernet.architecture import Architecture

RESULT = Path("benchmarks/results/serving-lanes.json")
SUBNETS, BATCHES = (FIXED[0], FIXED[-1]), (1, 8, 16)
RUN_S = 1.0
WAYS: dict[str, tuple[BackendName, int, int]] = {
    "OpenVINO, one core, one lane": ("openvino", 1, 1),
    "OpenVINO, a core for each lane": ("openvino", 1, cpus()),
    "OpenVINO, all cores, one lane": ("openvino", cpus(), 1),
    "ONNX Runtime, one core, one lane": ("onnxruntime", 1, 1),
    "ONNX Runtime, a core for each lane": ("onnxruntime", 1, cpus()),
}
"""Engine, threads of a run, and lanes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    net = Net(imagenet_artifact())
    ways = {
        way: [engine.lane() for _ in range(lanes)]
        for way, (name, threads, lanes) in WAYS.items()
        for engine in [_engine(net, name, threads, lanes)]
    }
    rows: list[dict[str, Any]] = []
    for subnet in SUBNETS:
        for batch in BATCHES:
            found = [
                {way: _run(lanes, Architecture.parse(subnet), batch) for way, lanes in ways.items()}
                for _ in range(given.rounds)
            ]
            for way, (_, _, lanes) in WAYS.items():
                ms = median(one[way] for one in found)
                rate = 1000 * batch * lanes / ms
                rows.append(
                    {"subnet": subnet, "batch": batch, "way": way, "run_ms": ms, "images_s": rate}
                )
    RESULT.write_text(json.dumps({"cores": cpus(), "rows": rows}, indent=1) + "\n", "utf-8")
    _print(rows)


def _engine(net: Net, name: BackendName, threads: int, lanes: int) -> Engine:
    backend = make_backend(name, threads=threads, lanes=lanes)
    backend.most_images = max(BATCHES)
    return make_engine(net, backend, max_whole_bytes=1)


def _run(lanes: list[Lane], arch: Architecture, batch: int) -> float:
    """Median milliseconds of a run, all lanes running."""
    shape = (batch, 3, arch.resolution, arch.resolution)
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    taken: list[float] = []
    together = threading.Barrier(len(lanes))
    threads = [
        threading.Thread(target=_repeat, args=(lane, arch, x, together, taken)) for lane in lanes
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return median(taken)


def _repeat(
    lane: Lane,
    arch: Architecture,
    x: NDArray[np.float32],
    together: threading.Barrier,
    taken: list[float],
) -> None:
    for _ in range(3):
        lane.run(arch, x)
    together.wait()
    ends = time.perf_counter() + RUN_S
    while (began := time.perf_counter()) < ends:
        lane.run(arch, x)
        taken.append(1000 * (time.perf_counter() - began))


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table("subnet", "batch", "way", title=f"Cores and lanes, {cpus()} cores")
    for heading in ("ms a run", "images/s"):
        table.add_column(heading, justify="right")
    for row in rows:
        figures = (f"{row['run_ms']:.2f}", f"{row['images_s']:.0f}")
        table.add_row(row["subnet"], str(row["batch"]), row["way"], *figures)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
