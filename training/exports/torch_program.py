"""A `torch.export` program (`.pt2`), run by torch itself, with `metadata.json` among its files."""

from __future__ import annotations

import io
import json
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from supernet.durable import write_file
from training.exports.formats import Metadata, Runtime

METADATA_FILE = "metadata.json"
DETAILS: dict[str, str | int] = {"torch": torch.__version__}


def convert(subnet: nn.Module, example: Tensor) -> ExportedProgram:
    """The program for any batch."""
    return exported(subnet, example, ({0: torch.export.Dim("batch")},))


def exported(subnet: nn.Module, example: Tensor, dynamic_shapes: object) -> ExportedProgram:
    """The program, without what names this machine's paths."""
    program = torch.export.export(subnet, (example,), dynamic_shapes=dynamic_shapes)  # type: ignore[arg-type]
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def write(model: ExportedProgram, metadata: Metadata, path: Path) -> None:
    """Write the program; `torch.export.load` gives it back without this project."""
    write_file(path, to_bytes(model, metadata))


def to_bytes(model: ExportedProgram, metadata: Metadata) -> bytes:
    """What a file with the program and its metadata holds."""
    buffer = io.BytesIO()  # saving to a path would put the file's name into its bytes
    torch.export.save(model, buffer, extra_files={METADATA_FILE: json.dumps(metadata)})
    return buffer.getvalue()


def load(path: Path) -> Runtime:
    """The program as a module."""
    return torch.export.load(path).module()
