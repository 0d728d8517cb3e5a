"""Images held in memory as bytes: a small data set, cropped, mirrored and resized on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from training.images.ahead import computed_ahead
from training.images.augment import Transform, crop_and_flip
from training.images.augmentation import Augmentation
from training.images.data import Batch, BatchPlan


@dataclass(frozen=True, slots=True)
class Images:
    """Images [N, C, H, W] as bytes and their labels [N] as integers."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> Images:
        return Images(self.pixels[indices], self.labels[indices])

    def first(self, count: int | None) -> Images:
        """The first `count` images, all where it is None."""
        return Images(self.pixels[:count], self.labels[:count])


@dataclass(frozen=True, slots=True)
class MemorySource:
    """An `ImageSource` over images that are all of one size.

    With a seed, images are shifted and mirrored as `augmentation` says.
    """

    images: Images
    transform: Transform
    augmentation: Augmentation = field(default_factory=Augmentation)

    @property
    def labels(self) -> Tensor:
        return self.images.labels

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, plans: Iterable[BatchPlan]) -> Iterator[Batch]:
        return computed_ahead(self._batch, plans)

    def _batch(self, plan: BatchPlan) -> Batch:
        part = self.images.take(plan.indices)
        pixels = part.pixels
        if plan.seed is not None:
            generator = torch.Generator().manual_seed(plan.seed)
            pixels = crop_and_flip(pixels, self.augmentation, generator)
        return Batch(self.transform(pixels, plan.resolution), part.labels)
