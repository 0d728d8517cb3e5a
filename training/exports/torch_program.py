"""A `torch.export` program (`.pt2`), run by torch itself, with `metadata.json` among its files."""

from __future__ import annotations

import io
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from supernet.durable import write_file
from training.exports.formats import Metadata, Runtime

METADATA_FILE = "metadata.json"
DETAILS: dict[str, str | int] = {"torch": torch.__version__}


def write(subnet: nn.Module, example: Tensor, metadata: Metadata, path: Path) -> None:
    """Write the program; `torch.export.load` gives it back without this project."""
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(subnet, (example,), dynamic_shapes=shapes)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # names this machine's paths
    buffer = io.BytesIO()  # saving to a path would put the file's name into its bytes
    torch.export.save(program, buffer, extra_files={METADATA_FILE: json.dumps(metadata)})
    write_file(path, buffer.getvalue())


def load(path: Path) -> Runtime:
    """The program as a module."""
    return torch.export.load(path).module()
