"""How images reach training, calibration and evaluation: plans in, batches out.

Knows nothing of files or models. A plan says everything that decides a batch, so a run that
is resumed gets the same batches, whoever loads them and however many at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

_MOST_PIXELS = 5_000_000  # of a batch: a few hundred megabytes of activations


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """What one batch is made of.

    `indices` [B] are places in the source, `resolution` is in pixels, and every random number
    of the augmentation follows from `seed`; None means no augmentation, as for evaluation.
    """

    indices: Tensor
    resolution: int
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Images [B, C, R, R], normalised, channels last, and their labels [B] as integers."""

    x: Tensor
    labels: Tensor


class ImageSource(Protocol):
    """One split of a data set."""

    @property
    def labels(self) -> Tensor:
        """The label [N] of each image, as integers."""

    def __len__(self) -> int: ...

    def batches(self, plans: Iterable[BatchPlan]) -> Iterator[Batch]:
        """One batch a plan, in order. Plans may be read ahead of the batches that are taken."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Disjoint splits: `train` for gradients, `validation` for choosing, `test` for reporting.

    `labels` are the classes' names; an image's label is a place among them. `test` is None
    where the data have no third split. `identity` tells these training images from others, so
    that a run does not go on with those.
    """

    train: ImageSource
    validation: ImageSource
    test: ImageSource | None
    labels: tuple[str, ...]
    identity: str = ""


def plans_in_order(indices: Tensor, resolution: int, most: int) -> Iterator[BatchPlan]:
    """Plans without augmentation for `indices` [N], in batches of nearly one size.

    They hold `most` images, fewer where these would be more than five megapixels.
    """
    size = min(most, math.ceil(_MOST_PIXELS / resolution**2))
    parts = math.ceil(len(indices) / size)
    return (BatchPlan(part, resolution) for part in indices.tensor_split(parts))


def stratified(labels: Tensor, count: int, field: str = "images") -> Tensor:
    """Indices, in order, of the first `count` images when the classes take turns.

    A class that has fewer than its share gives what it has, and others fill up. Raises
    `ValueError`, naming the `field` that asks for so many, unless 0 < count < N.
    """
    if not 0 < count < len(labels):
        raise ValueError(f"{field}: expected 1 to {len(labels) - 1} of the images, got {count}")
    turns = torch.empty_like(labels)
    for label in range(int(labels.max()) + 1):
        of_label = (labels == label).nonzero().flatten()
        turns[of_label] = torch.arange(len(of_label))
    order = (turns * (int(labels.max()) + 1) + labels).argsort()
    return order[:count].sort().values
