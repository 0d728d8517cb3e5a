"""Whether requests for different subnets should share a batch as far as their pieces are the same.

    python benchmarks/serving/mixed.py

Random subnets of ImageNet's size at 224 pixels, one image each, on one core, as one worker of the
gateway has it: one after another; together through the segments that they have in common, split
where they part; and all together through one of them, which is what the scheduler does where one
subnet satisfies all. In turn; printed are medians of milliseconds over those of one after another.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from net import imagenet_artifact
from rich.console import Console
from rich.table import Table

from gateway.config import ServerConfig
from gateway.engine_opening import opened_backend, settled
from gateway.engines.backend import Array, Backend, Runner, Values
from gateway.engines.chain_programs import ChainPrograms, ChainRunners
from gateway.engines.net import Net
from supernet.architecture import Architecture

RESULT = Path("benchmarks/results/serving-mixed.json")
SIZE = 224
COUNTS = (2, 4, 8)

Path_ = Sequence[Runner]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=100)
    given = parser.parse_args()
    folder = imagenet_artifact()
    net = Net(folder)
    config = settled(ServerConfig(artifact=folder, threads=1), net)
    backend = opened_backend(config, net)
    runners = ChainPrograms(net.manifest.design_space, backend, net.pieces).runners()
    archs = [a for a in net.manifest.design_space.enumerate() if a.resolution == SIZE]
    rows = [_compared(backend, runners, archs, count, given.rounds) for count in COUNTS]
    RESULT.write_text(json.dumps({"engine": backend.name, "rows": rows}, indent=1) + "\n", "utf-8")
    table = Table("requests", title="Milliseconds over those of one after another")
    for way in ("pieces in common", "one subnet for all"):
        table.add_column(way, justify="right")
    for row in rows:
        table.add_row(str(row["requests"]), f"{row['common']:.3f}", f"{row['one']:.3f}")
    Console(width=120).print(table)


def _compared(
    backend: Backend, runners: ChainRunners, archs: list[Architecture], count: int, rounds: int
) -> dict[str, Any]:
    """`one` is through the middle one by MACs' order of depths, about what all cost on average."""
    rng, x = random.Random(count), np.zeros((count, 3, SIZE, SIZE), np.float32)
    common, one = [], []
    for _ in range(rounds):
        chosen = sorted(rng.sample(archs, count), key=lambda arch: arch.depths)
        middle = sorted(chosen, key=lambda arch: sum(arch.depths))[count // 2]
        ways: dict[str, Callable[[], object]] = {
            "apart": lambda chosen=chosen: _apart(backend, runners, chosen, x),  # type: ignore[misc]
            "common": lambda chosen=chosen: _common(backend, runners, chosen, x),  # type: ignore[misc]
            "one": lambda arch=middle: runners(arch, backend.to_values(x)),  # type: ignore[misc]
        }
        taken = {name: _best_of_two(run) for name, run in ways.items()}
        common.append(taken["common"] / taken["apart"])
        one.append(taken["one"] / taken["apart"])
    return {"requests": count, "common": median(common), "one": median(one)}


def _apart(
    backend: Backend, runners: ChainRunners, archs: Sequence[Architecture], x: Array
) -> list[Array]:
    return [
        backend.to_array(runners(arch, backend.to_values(x[row : row + 1])))
        for row, arch in enumerate(archs)
    ]


def _common(
    backend: Backend, runners: ChainRunners, archs: Sequence[Architecture], x: Array
) -> list[Array]:
    """Rows in the order of `archs`, which is sorted, so that those who share lie side by side."""
    chains = [runners._chain(arch) for arch in archs]
    return _walk(backend, chains, 0, backend.to_values(x))


def _walk(backend: Backend, chains: list[Path_], step: int, x: Values) -> list[Array]:
    """What comes of the rows of `x`, each of which has `step` of its segments behind it."""
    if step == len(chains[0]):
        return list(backend.to_array(x))
    found: list[Array] = []
    first = 0
    while first < len(chains):
        runner, last = chains[first][step], first
        while last < len(chains) and chains[last][step] is runner:
            last += 1
        part = x if last - first == len(chains) else backend.to_values(x.data[first:last])
        found += _walk(backend, chains[first:last], step + 1, runner(part))
        first = last
    return found


def _best_of_two(run: Callable[[], object]) -> float:
    """Milliseconds; the first of a shape sets buffers up."""
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return min(taken[1:]) * 1000


if __name__ == "__main__":
    main()
