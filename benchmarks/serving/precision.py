"""What bf16 costs in accuracy: the shipped net on Fashion-MNIST's 10,000 test images.

    python benchmarks/serving/precision.py

From the smallest to the largest at full resolution, each subnet by the engine in f32 and in bf16:
accuracy, answers that differ, and images a second at batch 32 on one core, in turn.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from gateway.engines.engine import Engine
from gateway.engines.net import Net
from gateway.engines.opening import make_backend, make_engine
from supernet.architecture import Architecture
from supernet.shipped import artifact_folder
from training.costs.comparison import at_full_resolution
from training.images.data import plans_in_order
from training.images.data_folder import open_data_folder
from training.images.file_source import FileLoading

RESULT = Path("benchmarks/results/serving-precision.json")
BATCH, SUBNETS = 32, 5
PRECISIONS = ("f32", "bf16")


def main() -> None:
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    net = Net(artifact_folder())
    engines = {
        p: make_engine(net, make_backend("openvino", threads=1, precision=p), 2**30)
        for p in PRECISIONS
    }
    entries = sorted(at_full_resolution(net.manifest.catalog), key=lambda entry: entry.macs)
    places = [round(i * (len(entries) - 1) / (SUBNETS - 1)) for i in range(SUBNETS)]
    batches = _test_batches(net)
    rows = [_row(entries[place].subnet, engines, batches) for place in places]
    RESULT.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    _print(rows)


def _test_batches(net: Net) -> list[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    data = open_data_folder(None, FileLoading(net.manifest.preprocessing))
    assert data.test is not None
    plans = plans_in_order(torch.arange(len(data.test)), 28, BATCH)
    return [
        (np.ascontiguousarray(batch.x.numpy()), batch.labels.numpy())
        for batch in data.test.batches(plans)
    ]


def _row(
    subnet: str,
    engines: dict[str, Engine],
    batches: list[tuple[NDArray[np.float32], NDArray[np.int64]]],
) -> dict[str, Any]:
    arch, answers, seconds = Architecture.parse(subnet), {}, {}
    labels = np.concatenate([each for _, each in batches])
    lanes = {precision: engine.lane() for precision, engine in engines.items()}
    for precision, engine in engines.items():
        engine.whole.obtain(arch)
        answers[precision], seconds[precision] = [], 0.0
    for x, _ in batches:
        for precision, lane in lanes.items():
            began = time.perf_counter()
            logits = lane.run(arch, x).logits
            seconds[precision] += time.perf_counter() - began
            answers[precision].append(logits.argmax(1))
    best = {precision: np.concatenate(found) for precision, found in answers.items()}
    return {
        "subnet": subnet,
        "differ": int((best["f32"] != best["bf16"]).sum()),
        "accuracy": {p: float((found == labels).mean()) for p, found in best.items()},
        "images_per_s": {p: len(labels) / seconds[p] for p in best},
    }


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table("subnet", title="f32 and bf16 on 10,000 test images")
    for heading in ("f32", "bf16", "answers that differ", "times as fast"):
        table.add_column(heading, justify="right")
    for row in rows:
        accuracies = (f"{row['accuracy'][p]:.2%}" for p in PRECISIONS)
        faster = row["images_per_s"]["bf16"] / row["images_per_s"]["f32"]
        table.add_row(row["subnet"], *accuracies, str(row["differ"]), f"{faster:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
