"""How long a gateway takes from nothing to its first answer.

    python benchmarks/serving/start.py

A process of its own each time, with a net of ImageNet's size: cold, where nothing is compiled yet,
and with what an earlier start has compiled. What counts is the whole: the interpreter, the imports,
the artifact, the engine, the ports, and the answer to a request that is tried until it is taken.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median

import grpc
from net import FIXED, imagenet_artifact
from rich.console import Console
from rich.table import Table
from served import gateway, infer_request

from protos.compofa.v1 import gateway_pb2_grpc

RESULT = Path("benchmarks/results/serving-start.json")
ENGINES = ("auto", "onnxruntime", "openvino", "torch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    artifact = imagenet_artifact()
    taken: dict[str, dict[str, list[float]]] = {
        engine: {"cold": [], "again": []} for engine in ENGINES
    }
    for _ in range(given.rounds):
        for engine, starts in taken.items():
            with tempfile.TemporaryDirectory() as folder:
                for start in starts.values():  # the second finds what the first has compiled
                    start.append(_first_answer_s(artifact, Path(folder), engine))
    RESULT.write_text(json.dumps({"seconds": taken}, indent=1) + "\n", "utf-8")
    table = Table("engine", title="Seconds from a process's start to its first answer")
    for heading in ("cold", "again"):
        table.add_column(heading, justify="right")
    for engine, starts in taken.items():
        cells = (f"{median(all_):.2f} (worst {max(all_):.2f})" for all_ in starts.values())
        table.add_row(engine, *cells)
    Console(width=120).print(table)


def _first_answer_s(artifact: Path, folder: Path, engine: str) -> float:
    request = infer_request(FIXED[-1])
    (folder / "ports.json").unlink(missing_ok=True)
    began = time.perf_counter()
    options = ("--engine", engine, "--compile-cache", str(folder / "compiled"))
    with (
        gateway(artifact, folder, *options, warm=False) as target,
        grpc.insecure_channel(target) as channel,
    ):
        gateway_pb2_grpc.SubnetGatewayStub(channel).Infer(request, wait_for_ready=True, timeout=60)
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
