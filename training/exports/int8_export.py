"""A subnet leaves in INT8: quantised, run, measured beside the subnet, put in place.

INT8 cannot give the same logits, so what is checked is the accuracy that it costs.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from supernet import shipped
from supernet.architecture import Architecture
from supernet.artifact import Artifact, save_catalog
from supernet.catalog import Int8Accuracy
from supernet.manifest import read_manifest
from training.exports.comparison import check_inputs, max_difference
from training.exports.export import Exported, extracted, size_bytes
from training.exports.formats import Runtime, check_name, quantizer
from training.exports.int8_images import CALIBRATION_IMAGES, Int8Images
from training.exports.metadata import describe
from training.exports.place import place_for, quiet

MAX_ACCURACY_DROP = 0.01


@dataclass(frozen=True, slots=True)
class Measured:
    """An INT8 file beside its subnet: accuracies, and how many images both answer alike."""

    int8: Int8Accuracy
    agreement: float


def export_int8(
    artifact: Artifact,
    arch: Architecture,
    format_name: str,
    out: Path,
    images: Int8Images,
    *,
    calibration_images: int = CALIBRATION_IMAGES,
    max_accuracy_drop: float = MAX_ACCURACY_DROP,
) -> tuple[Exported, Int8Accuracy]:
    """`export`, in INT8. Raises `ValueError` too where the file's top-1 accuracy is more than
    `max_accuracy_drop` below the subnet's on the same images."""
    chosen = quantizer(format_name)
    check_name(format_name, out)
    subnet = extracted(artifact, arch)
    x, source = check_inputs(artifact.manifest, arch.resolution)
    ranges = images.calibration_input(arch.resolution, calibration_images)
    with place_for(out) as path, quiet(), torch.no_grad():
        model = chosen.quantized(chosen.convert(subnet, torch.zeros_like(x[:2])), ranges)
        chosen.write(model, describe(artifact.manifest, arch), path)
        measured = _measured(chosen.load(path), subnet, images, format_name, arch)
        _check_drop(f"subnet {arch.id} as {format_name}", measured.int8, max_accuracy_drop)
        chosen.write(model, describe(artifact.manifest, arch, measured.int8), path)
        difference = max_difference(chosen.load(path), subnet, x)
        size = size_bytes(path)
    details = {**chosen.DETAILS, **_details(measured), "calibration_images": len(ranges)}
    done = Exported(out, format_name, arch.id, size, difference, source, details)
    return done, measured.int8


def keep(
    folder: Path, subnet: str, measured: Int8Accuracy, *, wanted: bool | None = None
) -> str | None:
    """`record` where that is `wanted`; where nothing is said, but for the net that ships, whose
    files are the package's. Why the catalog has no figures now, where somebody may wonder."""
    if wanted is False:
        return None
    if wanted is None and shipped.holds(folder):
        return (
            "the net that ships is left as it is: both accuracies are in the file alone; with "
            "--record they are in its catalog too"
        )
    missing = f"the catalog has no INT8 accuracy of {subnet}"
    try:
        return None if record(folder, subnet, measured) else f"{missing}: it does not list it"
    except OSError as error:
        return f"{error.filename}: {error.strerror}; {missing}"


def record(folder: Path, subnet: str, measured: Int8Accuracy) -> bool:
    """Put the figures beside the float ones of the catalog of the artifact in `folder`; False
    where it does not list the subnet. `OSError` where it cannot be written."""
    with _alone(folder):
        catalog = read_manifest(folder).catalog
        if subnet not in catalog:
            return False
        save_catalog(folder, catalog.replaced(catalog[subnet].with_int8(measured)))
        return True


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One export at a time, or one of two that end together would undo what the other has put."""
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX)
        yield
    finally:
        os.close(place)


def _measured(
    runtime: Runtime, subnet: nn.Module, images: Int8Images, format_name: str, arch: Architecture
) -> Measured:
    right = float_right = alike = count = 0
    for batch in images.batches(arch.resolution):
        found, expected = runtime(batch.x).argmax(1), subnet(batch.x).argmax(1)
        right += int((found == batch.labels).sum())
        float_right += int((expected == batch.labels).sum())
        alike += int((found == expected).sum())
        count += len(batch.labels)
    accuracies = (round(number / count, 5) for number in (right, float_right))
    int8 = Int8Accuracy(
        format=format_name,
        accuracy=next(accuracies),
        float_accuracy=next(accuracies),
        images=count,
        split=images.split,
    )
    return Measured(int8, round(alike / count, 5))


def _check_drop(what: str, int8: Int8Accuracy, most: float) -> None:
    if int8.drop > most:
        raise ValueError(
            f"{what} in INT8: accuracy {int8.accuracy:.4f} on {int8.images} images, where the "
            f"subnet has {int8.float_accuracy:.4f}: expected a drop of at most {most:g}; nothing "
            "was written"
        )


def _details(measured: Measured) -> dict[str, str | int | float]:
    int8 = measured.int8
    return {
        "precision": "int8",
        "accuracy": int8.accuracy,
        "float_accuracy": int8.float_accuracy,
        "agreement": measured.agreement,
        "measured_images": int8.images,
        "split": int8.split,
    }
