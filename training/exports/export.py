"""A subnet leaves for its device: written in a format, run there, compared, put in place.

Knows no format by itself; `training.exports.formats` lists them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from supernet.architecture import Architecture
from supernet.artifact import Artifact
from supernet.extract import extract
from supernet.normalization import UncalibratedError
from training.exports.comparison import check_difference, check_inputs, max_difference
from training.exports.formats import check_name, exporter
from training.exports.metadata import describe
from training.exports.place import place_for, quiet


@dataclass(frozen=True, slots=True)
class Exported:
    """An export that is in place. `max_difference` is the largest of any logit from the
    extracted subnet's, on `images` as told in words; `details` are the format's, and what was
    measured of it."""

    path: Path
    format: str
    subnet: str
    size_bytes: int
    max_difference: float
    images: str
    details: dict[str, str | int | float]


def export(artifact: Artifact, arch: Architecture, format_name: str, out: Path) -> Exported:
    """Write `arch` to the file `out`, which is the whole new one afterwards or as it was before.

    Raises `ValueError` for an unknown format or subnet, a package that is missing, a name that
    the format's runtime would not read, a subnet that is not calibrated, or an export whose
    logits are not the subnet's; `OSError` where `out` cannot be written.
    """
    chosen = exporter(format_name)
    check_name(format_name, out)
    subnet = extracted(artifact, arch)
    x, images = check_inputs(artifact.manifest, arch.resolution)
    with place_for(out) as path, quiet(), torch.no_grad():
        model = chosen.convert(subnet, torch.zeros_like(x[:2]))
        chosen.write(model, describe(artifact.manifest, arch), path)
        difference = max_difference(chosen.load(path), subnet, x)
        check_difference(f"subnet {arch.id} as {format_name}", difference)
        size = size_bytes(path)
    return Exported(out, format_name, arch.id, size, difference, images, {**chosen.DETAILS})


def extracted(artifact: Artifact, arch: Architecture) -> nn.Module:
    """The subnet. Raises `ValueError` where it is none of the net's, or is not calibrated."""
    try:
        return extract(artifact.supernet, arch)
    except UncalibratedError:
        raise ValueError(
            f"subnet {arch.id}: has no batch-norm statistics; calibrate the artifact for it first"
        ) from None


def size_bytes(path: Path) -> int:
    """Of an export, with all files beside it, in a folder that holds nothing else."""
    return sum(file.stat().st_size for file in path.parent.iterdir())
