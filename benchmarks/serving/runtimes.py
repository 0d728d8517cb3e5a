"""Which runtime runs a subnet fastest on CPU cores.

    python benchmarks/serving/runtimes.py [--threads 2]

The smallest, a middle and the largest subnet of ImageNet's size at 224 pixels, each compiled
whole, at batch 1, 8 and 32. All runtimes run the same subnet in turn, again and again, each after a
pause, for threads of the one before still spin, and a run that does not count; printed are medians
of milliseconds an image, and how far the logits are from torch's.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from net import imagenet_artifact
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import nn

from supernet import artifact
from supernet.architecture import Architecture
from supernet.extract import extract
from supernet.layers import channels_last, channels_last_images

RESULT = Path("benchmarks/results/serving-runtimes.json")
BATCHES = (1, 8, 32)
ROUNDS, PAUSE_S = 15, 0.2
SUBNETS = ("d2-2-2-2-2@224", "d3-3-3-3-3@224", "d4-4-4-4-4@224")

Array = NDArray[np.float32]
Run = Callable[[Array], Array]
Make = Callable[[nn.Module, Array, int], Run]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    supernet = artifact.load(imagenet_artifact()).supernet
    rows: list[dict[str, Any]] = []
    for subnet in SUBNETS:
        module = extract(supernet, Architecture.parse(subnet)).eval()
        rows += _compared(subnet, module, given.threads, given.rounds)
    result = {"threads": given.threads, "rows": rows}
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    _print(rows, given.threads)


def _compared(
    subnet: str, module: nn.Module, threads: int, rounds: int
) -> Iterator[dict[str, Any]]:
    size = Architecture.parse(subnet).resolution
    images = np.random.default_rng(0).standard_normal((max(BATCHES), 3, size, size), np.float32)
    runs: dict[str, tuple[Run, float]] = {}
    for name, make in RUNTIMES.items():
        began = time.perf_counter()
        runs[name] = (make(module, images[:2], threads), time.perf_counter() - began)
    expected = runs["torch"][0](images[:1])
    for batch in BATCHES:
        x = images[:batch]
        taken: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds + 1):  # the first warms up
            for name, (run, _) in runs.items():
                time.sleep(PAUSE_S)
                run(x)
                began = time.perf_counter()
                run(x)
                taken[name].append(time.perf_counter() - began)
        for name, (run, compiled_s) in runs.items():
            yield {
                "subnet": subnet,
                "runtime": name,
                "batch": batch,
                "ms_an_image": 1000 * median(taken[name][1:]) / batch,
                "compile_s": compiled_s,
                "largest_difference": float(np.abs(run(images[:1]) - expected).max()),
            }


def _torch(module: nn.Module, _: Array, __: int) -> Run:
    def run(x: Array) -> Array:
        with torch.inference_mode():
            values: Array = channels_module(channels_last_images(torch.from_numpy(x))).numpy()
        return values

    channels_module = channels_last(module)
    return run


def _inductor(module: nn.Module, example: Array, _: int) -> Run:
    images = torch.from_numpy(example)
    program = torch.export.export(
        module, (images,), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},)
    )
    folder = tempfile.mkdtemp(prefix="compofa-inductor-")
    package = torch._inductor.aoti_compile_and_package(program, package_path=f"{folder}/net.pt2")
    compiled: Any = torch._inductor.aoti_load_package(package)

    def run(x: Array) -> Array:
        with torch.inference_mode():
            values: Array = compiled(torch.from_numpy(x)).numpy()
        return values

    return run


def _onnxruntime(module: nn.Module, example: Array, threads: int) -> Run:
    import onnxruntime

    program = torch.onnx.export(
        module,
        (torch.from_numpy(example),),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},),
        input_names=["input"],
        verbose=False,
    )
    assert program is not None
    buffer = io.BytesIO()
    program.save(buffer)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        buffer.getvalue(), options, providers=["CPUExecutionProvider"]
    )

    def run(x: Array) -> Array:
        values: Array = session.run(None, {"input": x})[0]
        return values

    return run


def _openvino(precision: Any) -> Make:
    def make(module: nn.Module, _: Array, threads: int) -> Run:
        from gateway.engines.openvino_backend import OpenvinoBackend

        backend = OpenvinoBackend(threads=threads, precision=precision)
        runner = backend.compile("whole", lambda: [module], (-1, 3, -1, -1)).runner()
        return lambda x: backend.to_array(runner(backend.to_values(x)))

    return make


RUNTIMES: dict[str, Make] = {
    "torch": _torch,
    "AOTInductor": _inductor,
    "ONNX Runtime": _onnxruntime,
    "OpenVINO f32": _openvino("f32"),
    "OpenVINO bf16": _openvino("bf16"),
}


def _print(rows: list[dict[str, Any]], threads: int) -> None:
    table = Table("subnet", "runtime", title=f"ms an image on {threads} threads")
    for batch in BATCHES:
        table.add_column(f"batch {batch}", justify="right")
    for heading in ("compiling, s", "difference"):
        table.add_column(heading, justify="right")
    for subnet in SUBNETS:
        for runtime in RUNTIMES:
            mine = [r for r in rows if (r["subnet"], r["runtime"]) == (subnet, runtime)]
            cells = (f"{row['ms_an_image']:.2f}" for row in mine)
            last = mine[-1]
            table.add_row(
                subnet,
                runtime,
                *cells,
                f"{last['compile_s']:.1f}",
                f"{last['largest_difference']:.1e}",
            )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
