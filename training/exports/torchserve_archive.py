"""One subnet for TorchServe: an archive (`.mar`) with a `torch.export` program and its handler.

Needs neither this project nor Java to be made or, but for TorchServe's own, to be run. What is
compared is what the handler computes, loaded from the archive as a worker does it.
"""

from __future__ import annotations

import json
from pathlib import Path

from torch.export import ExportedProgram

from supernet.durable import write_file
from training.exports import subnet_handler, torch_program
from training.exports.formats import Metadata, Runtime
from training.exports.mar import mar, unpacked

HANDLER = "compofa_subnet.py"
DETAILS = torch_program.DETAILS
convert = torch_program.convert


def write(model: ExportedProgram, metadata: Metadata, path: Path) -> None:
    """Write the archive; its model is called as the artifact is."""
    files = {
        HANDLER: Path(subnet_handler.__file__).read_bytes(),
        subnet_handler.PROGRAM_FILE: torch_program.to_bytes(model, metadata),
        subnet_handler.METADATA_FILE: json.dumps(metadata, indent=1).encode(),
    }
    write_file(path, mar(metadata["artifact"], HANDLER, files))


def load(path: Path) -> Runtime:
    """The archive's own handler, which keeps its program in memory."""
    with unpacked(path) as handler:
        run: Runtime = handler.logits
    return run
