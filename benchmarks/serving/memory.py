"""What it costs in memory to have all 243 subnets at hand.

    python benchmarks/serving/memory.py [--separate 243] [--engine openvino]

A net of ImageNet's size, at 224 pixels. Each way is a process of its own, which first loads the
runtime and runs a convolution, then does what the way says and runs each of its subnets on one
image. Printed is by how much its resident memory has grown, against the supernet's own weights:
all 243 as the gateway has them, 243 compiled separately, and six compiled separately, which is how
many SuperServe's paper compares with.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from net import imagenet_artifact
from rich.console import Console
from rich.table import Table
from torch import nn

from gateway.config import ServerConfig
from gateway.engine_opening import settled
from gateway.engines.backend import Backend
from gateway.engines.net import Net
from gateway.engines.opening import BYTES_PER_PARAMETER, BackendName, make_backend, make_engine
from gateway.heap import resident_bytes
from supernet.architecture import Architecture
from supernet.complexity import piece_parameters

RESULT = Path("benchmarks/results/serving-memory.json")
SIZE, FEW = 224, 6
ENGINES: tuple[BackendName, ...] = ("onnxruntime", "openvino")
MIB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--separate", type=int, default=243, help="of the 243, in even steps")
    parser.add_argument("--engine", choices=ENGINES, help="the gateway's own choice by default")
    given = parser.parse_args()
    artifact = imagenet_artifact()
    engine = given.engine or settled(ServerConfig(artifact=artifact), Net(artifact)).engine
    weights = (artifact / "weights.safetensors").stat().st_size
    rows = [
        _measured(artifact, engine, "together", 243),
        _measured(artifact, engine, "separate", FEW),
        _measured(artifact, engine, "separate", given.separate),
    ]
    result = {"engine": engine, "supernet_bytes": weights, "rows": rows}
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    title = f"Beyond the runtime's own; the supernet's weights are {weights / MIB:.1f} MiB"
    table = Table("", title=title)
    for heading in ("subnets", "weights, MiB", "of the supernet's", "resident, MiB", "of the same"):
        table.add_column(heading, justify="right")
    for row in rows:
        cells = [f"{row['subnets']}"]
        for figure in ("weight_bytes", "resident_bytes"):
            cells += [f"{row[figure] / MIB:.1f}", f"{row[figure] / weights:.2f}"]
        table.add_row(row["way"], *cells)
    Console(width=120).print(table)


def _measured(artifact: Path, engine: str, way: str, count: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--way", way, str(count), str(artifact), engine]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _run(way: str, count: str, artifact: str, engine: Any) -> None:
    """What a process of its own does."""
    net, backend = Net(Path(artifact)), make_backend(engine)
    archs = [a for a in net.manifest.design_space.enumerate() if a.resolution == SIZE]
    chosen = [archs[round(i)] for i in np.linspace(0, len(archs) - 1, int(count))]
    net.subnet(chosen[0])  # torch, and the supernet's weights
    convolution = nn.Sequential(nn.Conv2d(3, 8, 3))
    backend.compile("one", lambda: [convolution], (-1, 3, -1, -1)).runner()(_image(backend))
    before = resident_bytes()
    kept, weight_bytes = WAYS[way](net, backend, chosen)
    gc.collect()
    found = {"way": way, "subnets": len(chosen), "weight_bytes": weight_bytes}
    json.dump(found | {"resident_bytes": resident_bytes() - before}, sys.stdout)
    del kept


def _together(net: Net, backend: Backend, archs: list[Architecture]) -> tuple[object, int]:
    engine = make_engine(net, backend, max_whole_bytes=1)
    lane, x = engine.lane(), np.zeros((1, 3, SIZE, SIZE), np.float32)
    for arch in archs:
        lane.run(arch, x)
    return (engine, lane), engine.resident_bytes


def _separate(net: Net, backend: Backend, archs: list[Architecture]) -> tuple[object, int]:
    space, runners, weight_bytes = net.manifest.design_space, [], 0
    parameters = piece_parameters(space)
    for arch in archs:
        program = backend.compile(arch.id, lambda arch=arch: [net.subnet(arch)], (-1, 3, -1, -1))  # type: ignore[misc]
        runners.append(program.runner())
        runners[-1](_image(backend))
        names = ("stem", *(variant.name for variant in space.variants(arch)), "head")
        weight_bytes += BYTES_PER_PARAMETER * sum(parameters[name] for name in names)
    return runners, weight_bytes


def _image(backend: Backend) -> Any:
    return backend.to_values(np.zeros((1, 3, SIZE, SIZE), np.float32))


WAYS: dict[str, Callable[[Net, Backend, list[Architecture]], tuple[object, int]]] = {
    "together": _together,
    "separate": _separate,
}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--way"]:
        _run(*sys.argv[2:])
    else:
        main()
