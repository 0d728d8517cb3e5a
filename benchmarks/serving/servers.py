"""Throughput and latency against other Python servers, sixteen requests in flight.

    python benchmarks/serving/servers.py

Needs the extra `bench` and Java. Every server has a worker a core and runs the same subnet, of
ImageNet's size, from the same weights, for the same image as raw float32, by the runtime that the
gateway has chosen and with its settings; TorchServe by torch as well. For each rival the batching
with which it answers most is tried out first. Then all are there at once, idle but the one that is
asked, in turn for several rounds; printed are medians of the rounds. The client shares the cores.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from load import Found, measured
from net import imagenet_artifact
from overhead import engine_alone
from rich.console import Console
from rich.table import Table
from rival_servers import Batching, Make, echo, litserve, mosec, started, torchserve
from served import METHOD, gateway, infer_request
from torch import nn

from gateway.config import ServerConfig
from gateway.engine_opening import settled
from gateway.engines.net import Net
from gateway.engines.opening import cpus
from supernet import artifact
from supernet.architecture import Architecture
from supernet.extract import extract
from supernet.onnx_chain import onnx_chain

RESULT = Path("benchmarks/results/serving-servers.json")
SUBNETS = ("d2-2-2-2-2@160", "d4-4-4-4-4@224")
IN_FLIGHT = 16
BATCHINGS = (Batching(1, 0), Batching(4, 5), Batching(8, 5))
TRYING_S = 3.0
RIVALS: dict[str, tuple[Make, str]] = {
    "TorchServe, torch": (torchserve, "pt2"),
    "TorchServe": (torchserve, "same"),
    "LitServe": (litserve, "same"),
    "Mosec": (mosec, "same"),
}
PRECISIONS = ("f32", "bf16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    net = imagenet_artifact()
    rows: list[dict[str, Any]] = []
    for subnet in SUBNETS:
        with tempfile.TemporaryDirectory() as folder:
            rows += _compared(net, subnet, Path(folder), given.rounds, given.seconds)
        _print(rows)
        result = {"cores": cpus(), "in_flight": IN_FLIGHT, "engine": _engine(net), "rows": rows}
        RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


def _compared(
    net: Path, subnet: str, folder: Path, rounds: int, seconds: float
) -> Iterator[dict[str, Any]]:
    files = _save(net, subnet, folder)
    request = infer_request(subnet)
    image = request.tensor.raw
    batchings = {name: _best(name, files, image, folder) for name in RIVALS}
    found: dict[str, list[Found]] = {}
    with ExitStack() as stack:
        asked = {
            f"{name}, {batching}": stack.enter_context(_rival(name, batching, files, image, folder))
            for name, batching in batchings.items()
        }
        place = _subfolder(folder)
        echoing = echo(place, BATCHINGS[0], image)
        asked["grpc.aio echo"] = stack.enter_context(started(echoing, place))
        for precision in PRECISIONS:
            place = _subfolder(folder)
            (place / "request").write_bytes(request.SerializeToString())
            options = ("--precision", precision)
            target = stack.enter_context(gateway(net, place, *options))
            asked[f"gateway, {precision}"] = [
                "grpc", target, "--method", METHOD, "--request", str(place / "request")
            ]  # fmt: skip
        for _ in range(rounds):
            alone = engine_alone(net, subnet, IN_FLIGHT, seconds)
            found.setdefault("engine alone, f32", []).append(alone)
            for name, arguments in asked.items():
                one = measured(arguments, IN_FLIGHT, seconds)
                found.setdefault(name, []).append(one)
    for name, all_ in found.items():
        figures = {
            field: median(getattr(one, field) for one in all_)
            for field in ("answers_per_s", "p50_ms", "p99_ms")
        }
        errors = sum(one.errors for one in all_)
        yield {"subnet": subnet, "who": name, "errors": errors} | figures


def _best(name: str, files: dict[str, Path], image: bytes, folder: Path) -> Batching:
    def answers(batching: Batching) -> float:
        with _rival(name, batching, files, image, folder) as asked:
            return measured(asked, IN_FLIGHT, TRYING_S).answers_per_s

    return max(BATCHINGS, key=answers)


@contextmanager
def _rival(
    name: str, batching: Batching, files: dict[str, Path], image: bytes, folder: Path
) -> Iterator[list[str]]:
    make, suffix = RIVALS[name]
    place = _subfolder(folder)
    with started(make(place, batching, image), place, files[suffix]) as asked:
        yield asked


def _subfolder(folder: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=folder))


def _save(net: Path, subnet: str, folder: Path) -> dict[str, Path]:
    """The subnet for torch, and for the runtime that the gateway has."""
    arch = Architecture.parse(subnet)
    module = extract(artifact.load(net).supernet, arch).eval()
    size = arch.resolution
    files = {"pt2": folder / f"{size}.pt2"}
    if _engine(net) == "onnxruntime":
        files["same"] = folder / f"{size}.onnx"
        files["same"].write_bytes(onnx_chain([module]))
    else:
        files["same"] = folder / f"{size}.xml"
        _save_openvino(module, size, files["same"])
    _save_compiled(module, size, files["pt2"])
    return files


def _engine(net: Path) -> str:
    """The one that the gateway chooses."""
    return settled(ServerConfig(artifact=net), Net(net)).engine


def _save_openvino(module: nn.Module, size: int, path: Path) -> None:
    import openvino as ov  # type: ignore[import-untyped]

    from gateway.engines.openvino_graph import to_model

    model = to_model([module], [-1, 3, size, size], path.stem)
    ov.save_model(model, path, compress_to_fp16=False)


def _save_compiled(module: nn.Module, size: int, path: Path) -> None:
    example = torch.from_numpy(np.zeros((2, 3, size, size), np.float32))
    most = max(batching.size for batching in BATCHINGS)
    batch = torch.export.Dim("batch", min=1, max=most)
    program = torch.export.export(module, (example,), dynamic_shapes=({0: batch},))
    torch._inductor.aoti_compile_and_package(program, package_path=str(path))


def _print(rows: list[dict[str, Any]]) -> None:
    title = f"One image a request, {IN_FLIGHT} in flight, {cpus()} cores"
    table = Table("subnet", "", title=title)
    for heading in ("answers/s", "p50 ms", "p99 ms", "errors"):
        table.add_column(heading, justify="right")
    for row in rows:
        figures = (f"{row[name]:.1f}" for name in ("answers_per_s", "p50_ms", "p99_ms"))
        table.add_row(row["subnet"], row["who"], *figures, str(row["errors"]))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
