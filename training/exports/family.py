"""A whole family leaves for TorchServe: an archive of what it is told to hold.

What chooses among the subnets is the gateway's, and handed over as files.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from supernet.architecture import Architecture
from supernet.artifact import Artifact
from supernet.durable import write_file
from training.exports.comparison import check_difference, check_inputs, max_difference
from training.exports.export import Exported, extracted, size_bytes
from training.exports.formats import check_name
from training.exports.mar import mar, unpacked
from training.exports.place import place_for, quiet

ALL = "all"
"""What stands for the whole family where one subnet's id would be."""
FORMAT = "torchserve"
FamilyFiles = Callable[[Path], tuple[str, dict[str, bytes]]]
"""From an artifact's folder to the handler's name and all files, by name. Raises `ValueError`."""


def export_family(artifact: Artifact, folder: Path, files: FamilyFiles, out: Path) -> Exported:
    """Write all subnets of `artifact`, which lies at `folder`, as one archive to the file `out`.

    Compared are the smallest, the middle and the largest subnet, each at batch 1 and 8. Raises
    `ValueError` and `OSError` as `export` does.
    """
    check_name(FORMAT, out)
    handler_name, content = files(folder)
    entries = sorted(artifact.manifest.catalog.entries, key=lambda entry: entry.macs)
    some = dict.fromkeys(entries[place].subnet for place in (0, len(entries) // 2, -1))
    with place_for(out) as path, quiet(), torch.no_grad():
        write_file(path, mar(artifact.manifest.name, handler_name, content))
        with unpacked(path) as handler:
            checked = [_checked(artifact, Architecture.parse(subnet), handler) for subnet in some]
        size = size_bytes(path)
    worst = max(difference for difference, _ in checked)
    details: dict[str, str | int | float] = {"subnets": len(entries), "compared": ", ".join(some)}
    return Exported(out, FORMAT, ALL, size, worst, checked[0][1], details)


def _checked(artifact: Artifact, arch: Architecture, handler: Any) -> tuple[float, str]:
    """How far one subnet's logits are from what it gives itself, and on which images."""

    def run(x: Tensor) -> Tensor:
        return torch.from_numpy(handler.logits(arch.id, x.numpy()))

    x, source = check_inputs(artifact.manifest, arch.resolution)
    difference = max_difference(run, extracted(artifact, arch), x)
    check_difference(f"subnet {arch.id} in the family as {FORMAT}", difference)
    return difference, source
