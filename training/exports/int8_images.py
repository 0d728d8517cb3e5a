"""The images that an INT8 export is calibrated by and measured on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from supernet.manifest import Manifest
from training.exports.comparison import channels_first, fits_shipped, read_shipped
from training.images import fashion_mnist
from training.images.augment import Transform
from training.images.data import Batch, ImageSource, plans_in_order, stratified
from training.images.data_folder import open_data_folder
from training.images.file_source import FileLoading
from training.images.memory import MemorySource

BATCH_SIZE = 250
CALIBRATION_IMAGES = 300  # what NNCF takes by default
_SHIPPED_CALIBRATION = 100  # of the 300 that ship; the others are measured on


@dataclass(frozen=True, slots=True)
class Int8Images:
    """Images to calibrate by, and others to measure on: the validation split, or a sample."""

    calibration: ImageSource
    measured: ImageSource
    split: Literal["validation", "sample"]

    def calibration_input(self, resolution: int, count: int) -> Tensor:
        """`count` images [N, C, R, R], or all there are, evenly over the classes."""
        source = self.calibration
        chosen = torch.arange(len(source))
        if count < len(source):
            chosen = stratified(source.labels, count, "--calibration-images")
        batches = source.batches(plans_in_order(chosen, resolution, BATCH_SIZE))
        return channels_first(torch.cat([batch.x for batch in batches]))

    def batches(self, resolution: int) -> Iterator[Batch]:
        """What is measured on, in order and channels first."""
        indices = torch.arange(len(self.measured))
        for batch in self.measured.batches(plans_in_order(indices, resolution, BATCH_SIZE)):
            yield Batch(channels_first(batch.x), batch.labels)


def open_int8_images(manifest: Manifest, data: Path | None, workers: int) -> Int8Images:
    """Training and validation split of `data`, split as the artifact was trained beside.

    Without it those of Fashion-MNIST, where that is the net's kind and lies on this machine, and
    where it does not, the images that ship. Raises `ValueError` where there are none.
    """
    if data is None and fits_shipped(manifest) and fashion_mnist.found() is None:
        return _shipped_images(manifest)
    if data is None and not fits_shipped(manifest):
        raise ValueError("--data: INT8 needs images to calibrate by: a folder of images by class")
    loading = FileLoading(manifest.preprocessing, num_workers=workers)
    held_out = manifest.ledger.validation_images if manifest.ledger else None
    dataset = open_data_folder(data, loading, validation_images=held_out, labels=manifest.labels)
    return Int8Images(dataset.train, dataset.validation, "validation")


def _shipped_images(manifest: Manifest) -> Int8Images:
    transform = Transform(manifest.of_images)
    calibration, measured = (
        MemorySource(read_shipped(manifest, *places), transform)
        for places in ((0, _SHIPPED_CALIBRATION), (_SHIPPED_CALIBRATION, None))
    )
    return Int8Images(calibration, measured, "sample")
