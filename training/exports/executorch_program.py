"""ExecuTorch (`.pte`), delegated to XNNPACK and run by ExecuTorch: for phones and small boards.

Takes one image at a time, as these devices do. Its metadata is the method `metadata`, which
gives a JSON document.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from supernet.durable import write_file
from training.exports.formats import Metadata, Runtime
from training.exports.torch_program import exported

METADATA_METHOD = "metadata"
DETAILS: dict[str, str | int] = {"executorch": version("executorch")}


def convert(subnet: nn.Module, example: Tensor) -> ExportedProgram:
    """The program for a batch of one: XNNPACK plans its memory ahead."""
    return exported(subnet, example[:1], None)


def write(model: ExportedProgram, metadata: Metadata, path: Path) -> None:
    """Lower the program and write it: `forward` FP32 [1, C, R, R] → FP32 [1, classes]."""
    with _quiet_libraries():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        lowered = to_edge_transform_and_lower(
            model,
            partitioner=[XnnpackPartitioner()],
            constant_methods={METADATA_METHOD: json.dumps(metadata)},
        )
        write_file(path, bytes(lowered.to_executorch().buffer))


def load(path: Path) -> Runtime:
    """The method `forward`, called once for each image."""
    data = path.read_bytes()
    with _quiet_libraries():
        from executorch.runtime import Runtime as ExecuTorch

        program = ExecuTorch.get().load_program(data)
        forward = program.load_method("forward")
    assert forward is not None

    def run(x: Tensor, _kept: object = (data, program)) -> Tensor:  # a method points into them
        with _quiet_libraries():
            rows = [forward.execute([row[None].contiguous()])[0].clone() for row in x]
        return torch.cat(rows)

    return run


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Nothing of what native libraries write to standard error, past Python, is shown."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)
