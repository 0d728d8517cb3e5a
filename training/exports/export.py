"""A subnet leaves for its device: written in a format, run there, compared, put in place.

Knows no format by itself; `training.exports.formats` lists them.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from supernet import shipped
from supernet.architecture import Architecture
from supernet.artifact import Artifact
from supernet.extract import extract
from supernet.manifest import Manifest
from supernet.normalization import UncalibratedError
from supernet.version import version
from training.exports.formats import Metadata, Runtime, exporter
from training.images.augment import Transform

TOLERANCE = 1e-4  # of logits up to 10, as trained nets have them; in proportion above
BATCH_SIZES = (1, 8)  # at which an export is compared
_CHATTY = ("torch", "onnxscript", "onnx_ir")


@dataclass(frozen=True, slots=True)
class Exported:
    """An export that is in place. `max_difference` is the largest of any logit from the
    extracted subnet's, on `images` as told in words; `details` are the format's."""

    path: Path
    format: str
    subnet: str
    size_bytes: int
    max_difference: float
    images: str
    details: dict[str, str | int]


def export(artifact: Artifact, arch: Architecture, format_name: str, out: Path) -> Exported:
    """Write `arch` to the file `out`, which is the whole new one afterwards or as it was before.

    Raises `ValueError` for an unknown format or subnet, a package that is missing, a subnet
    that is not calibrated, or an export whose logits are not the subnet's; `OSError` where
    `out` cannot be written.
    """
    chosen = exporter(format_name)
    subnet = _extracted(artifact, arch)
    x, images = check_images(artifact.manifest, arch.resolution)
    with _place_for(out) as path, _quiet(), torch.no_grad():
        chosen.write(subnet, torch.zeros_like(x[:2]), describe(artifact.manifest, arch), path)
        difference = max_difference(chosen.load(path), subnet, x)
        if not difference <= TOLERANCE:  # also where it is not a number
            raise ValueError(
                f"subnet {arch.id} as {format_name}: its logits differ by {difference:.2g} from "
                f"the extracted subnet's, expected at most {TOLERANCE:g}; nothing was written"
            )
        size_bytes = sum(file.stat().st_size for file in path.parent.iterdir())
    return Exported(out, format_name, arch.id, size_bytes, difference, images, chosen.DETAILS)


def describe(manifest: Manifest, arch: Architecture) -> Metadata:
    """What a file says of itself: enough to feed it, and to tell where it is from."""
    channels = manifest.design_space.skeleton.in_channels
    crop = manifest.preprocessing.centre_crop
    part = f"the centred square with {crop} of the shorter side" if crop else "the whole image"
    metadata: Metadata = {
        "subnet": arch.id,
        "artifact": manifest.name,
        "artifact_hash": manifest.artifact_hash,
        "compofa_version": version(),
        "labels": list(manifest.labels),
        "preprocessing": {
            "colour": {1: "grayscale", 3: "RGB"}.get(channels, f"{channels} channels"),
            "resolution": arch.resolution,
            "resize": f"{part} to resolution x resolution, bilinear, antialiased",
            "scale": "pixels to [0, 1], then minus mean, divided by std",
            **manifest.preprocessing.model_dump(mode="json", exclude_none=True),
        },
    }
    if arch.id in manifest.catalog:
        metadata["expected_accuracy"] = manifest.catalog[arch.id].accuracy
    return metadata


def check_images(manifest: Manifest, resolution: int) -> tuple[Tensor, str]:
    """Input [8, C, R, R] as the net takes it, and in words what it is.

    Real images where the package has some of this net's kind, else seeded noise over the
    whole range of pixels.
    """
    files = shipped.images()
    channels = manifest.design_space.skeleton.in_channels
    count = max(BATCH_SIZES)
    if channels == 1 and set(manifest.labels) == {label for _, label in files}:
        source = f"{count} Fashion-MNIST images"
        pixels = torch.stack([_grayscale(path) for path, _ in files[:count]])
    else:
        source = f"{count} images of seeded noise"
        generator = torch.Generator().manual_seed(0)
        shape = (count, channels, resolution, resolution)
        pixels = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    images = Transform(manifest.preprocessing)(pixels, resolution)
    # Channels first: exporters write how images are stored into the graph.
    return images.clone(memory_format=torch.contiguous_format), source


def max_difference(runtime: Runtime, subnet: nn.Module, x: Tensor) -> float:
    """The largest difference of any logit, over all of `BATCH_SIZES`, for logits scaled down to
    10 where the subnet's are larger; infinite for a wrong shape, NaN where one has NaN."""
    worst = torch.zeros(())
    for batch in (x[:size] for size in BATCH_SIZES):
        logits, expected = runtime(batch), subnet(batch)
        if logits.shape != expected.shape:
            return float("inf")
        scale = (expected.abs().max() / 10).clamp(min=1.0)
        worst = torch.maximum(worst, ((logits - expected) / scale).abs().max())
    return float(worst)


def _extracted(artifact: Artifact, arch: Architecture) -> nn.Module:
    try:
        return extract(artifact.supernet, arch)
    except UncalibratedError:
        raise ValueError(
            f"subnet {arch.id}: has no batch-norm statistics; calibrate the artifact for it first"
        ) from None


def _grayscale(path: Path) -> Tensor:
    """Pixels [1, H, W] of an image file."""
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image.convert("L")))[None]


@contextmanager
def _place_for(out: Path) -> Iterator[Path]:
    """Where to write first: in a folder of its own beside `out`. On success what is there is
    moved to its place, and on any error nothing is left. An `OSError` names `out`."""
    if out.exists() and not out.is_file():
        raise ValueError(f"--out {out}: expected a file, something else is there")
    out = out.resolve()  # a link stays, and what it leads to is replaced
    try:
        fresh = Path(tempfile.mkdtemp(prefix=".compofa-export-", dir=out.parent))
        try:
            yield fresh / out.name
            for file in sorted(fresh.iterdir(), key=lambda file: file.name == out.name):
                file.replace(out.with_name(file.name))  # the one asked for comes last
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(out)) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters log and warn about their own insides; what is wrong they raise."""
    loggers = [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
