"""What it costs to run another subnet than the last one, and what a chain costs over a whole.

    python benchmarks/serving/actuation.py [--engine NAME] [--threads 2]

Two tables. The first: subnets run after themselves and after a random other one, through the
engine as a gateway has it, through the runtime alone with each compiled whole, and, a few of them,
by a gateway as its client sees it; and the public code's way, which copies the subnet's weights out
and then runs it. The second: milliseconds of the engine, as a chain and whole, over those of the
runtime alone, at batch 1 and 8.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import grpc
import numpy as np
import torch
from load import ANY_SIZE
from net import FIXED, imagenet_artifact
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from served import gateway, infer_request

from gateway.config import ServerConfig
from gateway.engine_opening import opened_backend, settled
from gateway.engines.backend import Runner
from gateway.engines.engine import Engine, Lane
from gateway.engines.net import Net
from gateway.engines.opening import make_engine
from protos.compofa.v1 import gateway_pb2_grpc
from supernet import artifact
from supernet.architecture import Architecture
from supernet.extract import extract
from supernet.layers import channels_last, channels_last_images

RESULT = Path("benchmarks/results/serving-actuation.json")
SIZE = 224
COMPARED = ("d2-2-2-2-2@224", "d3-3-3-3-3@224", "d4-4-4-4-4@224")
BATCHES = (1, 8)
GIB = 2**30
ALONE = 8  # subnets that the runtime alone switches among


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--engine", default="auto", help="the gateway's own choice by default")
    parser.add_argument("--threads", type=int, help="of the engine; as a gateway has them")
    parser.add_argument("--rounds", type=int, default=2000, help="of switching; a tenth of others")
    given = parser.parse_args()
    folder = imagenet_artifact()
    net = Net(folder)
    config = settled(ServerConfig(artifact=folder, engine=given.engine, threads=given.threads), net)
    backend = opened_backend(config, net)
    engine = make_engine(net, backend, max_whole_bytes=GIB)
    archs = [a for a in net.manifest.design_space.enumerate() if a.resolution == SIZE]
    switching = _all_switching(engine, net, archs, given.rounds)
    switching |= _served_switching(folder, given.rounds)
    switching["extract and run"] = _extracted(folder, archs, max(20, given.rounds // 100))
    ratios = _ratios(engine, net, given.rounds // 10)
    result = {
        "engine": backend.name,
        "threads": config.threads,
        "microseconds": switching,
        "ratios": ratios,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    _print(backend.name, switching, ratios)


def _images(batch: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((batch, 3, SIZE, SIZE), np.float32)


def _all_switching(
    engine: Engine, net: Net, archs: Sequence[Architecture], rounds: int
) -> dict[str, dict[str, float]]:
    """Of the engine among all subnets; and of the runtime alone among a few compiled whole, which
    no engine is better than: another subnet's weights are not in the caches either."""
    x, lane = _images(1), engine.lane()
    values = engine.backend.to_values(x)
    few = {arch: _bare(engine, net, arch) for arch in random.Random(1).sample(archs, ALONE)}
    ways = {
        "engine": {arch: partial(lane.run, arch, x) for arch in archs},
        "runtime alone": {arch: partial(run, values) for arch, run in few.items()},
    }
    return {
        f"{way}, {kind}": found
        for way, runs in ways.items()
        for kind, found in _switching(runs, rounds).items()
    }


def _served_switching(artifact_folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Of a gateway, one request after another: what is on its way to a worker is in it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        gateway(artifact_folder, Path(folder)) as target,
        grpc.insecure_channel(target, ANY_SIZE) as channel,
    ):
        infer = gateway_pb2_grpc.SubnetGatewayStub(channel).Infer
        runs = {Architecture.parse(s): partial(infer, infer_request(s)) for s in FIXED}
        return {f"gateway, {kind}": found for kind, found in _switching(runs, rounds).items()}


def _switching(
    runs: Mapping[Architecture, Callable[[], object]], rounds: int
) -> dict[str, dict[str, float]]:
    """How much longer a subnet's run takes after another's than after its own, in microseconds: the
    median of the differences, and the difference of the 99th percentiles. Beside it the same of a
    third run, which is the noise. A subnet's runs lie side by side, so that a slow spell hits all.
    """
    rng, taken = random.Random(0), []
    for run in runs.values():
        run()
    for _ in range(rounds):
        other, arch = rng.sample(list(runs), 2)
        runs[other]()
        taken.append([_timed(runs[arch]) for _ in range(3)])
    switched, first, second = (np.array(taken) * 1e6).T
    return {"another subnet": _more(switched, first), "the same again": _more(second, first)}


def _more(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> dict[str, float]:
    p99 = np.percentile(ours, 99) - np.percentile(theirs, 99)
    return {"p50": float(np.median(ours - theirs)), "p99": float(p99)}


def _extracted(folder: Path, archs: Sequence[Architecture], rounds: int) -> dict[str, float]:
    """Microseconds until a subnet that was copied out can run: without the run itself."""
    supernet, rng = artifact.load(folder).supernet, random.Random(0)
    images = channels_last_images(torch.from_numpy(_images(1)))
    taken = []
    for _ in range(rounds):
        arch = rng.choice(archs)
        began = time.perf_counter()
        module = channels_last(extract(supernet, arch)).eval()
        taken.append(time.perf_counter() - began)
        with torch.inference_mode():
            module(images)
    return _percentiles(taken)


def _ratios(engine: Engine, net: Net, rounds: int) -> list[dict[str, Any]]:
    """First all chains: once a subnet is compiled whole it runs so."""
    archs = [Architecture.parse(subnet) for subnet in COMPARED]
    bare = {arch: _bare(engine, net, arch) for arch in archs}
    rows = [
        {"subnet": arch.id, "batch": batch}
        | _ratio("chain", engine.lane(), bare, arch, batch, rounds)
        for arch in archs
        for batch in BATCHES
    ]
    for arch in archs:
        engine.whole.obtain(arch)
    for row in rows:
        arch = Architecture.parse(row["subnet"])
        row |= _ratio("whole", engine.lane(), bare, arch, row["batch"], rounds)
    return rows


def _bare(engine: Engine, net: Net, arch: Architecture) -> Runner:
    """The runtime alone, with the subnet compiled whole."""
    images = (-1, 3, SIZE, SIZE)
    return engine.backend.compile(f"bare {arch.id}", lambda: [net.subnet(arch)], images).runner()


def _ratio(
    way: str,
    lane: Lane,
    bare: Mapping[Architecture, Runner],
    arch: Architecture,
    batch: int,
    rounds: int,
) -> dict[str, float]:
    x = _images(batch)
    values = lane.engine.backend.to_values(x)
    runs = (lambda: lane.run(arch, x), lambda: bare[arch](values))
    engine_ms, bare_ms = _in_turn(runs, rounds)
    return {"bare_ms": bare_ms, way: engine_ms / bare_ms}


def _in_turn(runs: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Median milliseconds of each."""
    taken: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds + 5):  # the first warm up
        for run, mine in zip(runs, taken, strict=True):
            mine.append(_timed(run) * 1000)
    return [median(mine[5:]) for mine in taken]


def _timed(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    found = np.percentile(np.array(seconds) * 1e6, (50, 99))
    return {"p50": float(found[0]), "p99": float(found[1])}


def _print(engine: str, switching: dict[str, Any], ratios: list[dict[str, Any]]) -> None:
    table = Table("", title=f"Microseconds over running the same subnet again, {engine}")
    for heading in ("p50", "p99"):
        table.add_column(heading, justify="right")
    for name, found in switching.items():
        table.add_row(name, f"{found['p50']:.0f}", f"{found['p99']:.0f}")
    console = Console(width=120)
    console.print(table)
    table = Table("subnet", "batch", title="Times the runtime alone")
    for heading in ("runtime alone, ms", "chain", "whole"):
        table.add_column(heading, justify="right")
    for row in ratios:
        cells = (f"{row['bare_ms']:.2f}", f"{row['chain']:.2f}", f"{row['whole']:.2f}")
        table.add_row(row["subnet"], str(row["batch"]), *cells)
    console.print(table)


if __name__ == "__main__":
    main()
