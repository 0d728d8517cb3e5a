"""Accuracy of every subnet at every resolution, computing shared prefixes once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import torch

from supernet.architecture import Architecture
from supernet.catalog import Catalog, CatalogEntry
from supernet.complexity import complexity
from supernet.model import Supernet
from training.augment import Transform
from training.data import Dataset, Images

BATCH_SIZE = 250
Advance = Callable[[int], None]
"""Called with the number of images done; from any thread."""


@torch.inference_mode()
def accuracies(
    supernet: Supernet,
    images: Images,
    transform: Transform,
    archs: Iterable[Architecture],
    *,
    num_threads: int = 1,
    advance: Advance | None = None,
) -> dict[Architecture, float]:
    """Top-1 accuracy in [0, 1] of each architecture on `images`.

    Batches run side by side on `num_threads` threads, each with one of torch's own; those of
    one resolution share the prefixes of their subnets.
    """
    by_resolution: dict[int, list[Architecture]] = {}
    for arch in archs:
        by_resolution.setdefault(arch.resolution, []).append(arch)
    batches = [slice(i, i + BATCH_SIZE) for i in range(0, len(images), BATCH_SIZE)]
    work = [(group, batch) for group in by_resolution.values() for batch in batches]
    correct = dict.fromkeys((arch for group in by_resolution.values() for arch in group), 0)

    def count(group: list[Architecture], batch: slice) -> dict[Architecture, int]:
        part = Images(images.pixels[batch], images.labels[batch])
        found = _correct(supernet, part, transform, group)
        if advance is not None:
            advance(len(part))
        return found

    torch.set_num_threads(1)
    with ThreadPoolExecutor(num_threads) as pool:
        for found in pool.map(lambda item: count(*item), work):
            for arch, number in found.items():
                correct[arch] += number
    return {arch: number / len(images) for arch, number in correct.items()}


@torch.inference_mode()
def _correct(
    supernet: Supernet, images: Images, transform: Transform, group: list[Architecture]
) -> dict[Architecture, int]:
    """Correct answers on one batch for architectures of one resolution."""
    resolution = group[0].resolution
    x = transform(images.pixels, resolution)
    paths = {supernet.space.variants(arch): arch for arch in group}
    return {
        paths[path]: int((logits.argmax(1) == images.labels).sum())
        for path, logits in supernet.run_paths(x, resolution, paths)
    }


def build_catalog(
    supernet: Supernet,
    dataset: Dataset,
    transform: Transform,
    *,
    num_threads: int = 1,
    advance: Advance | None = None,
) -> Catalog:
    """Every subnet with its accuracy on the validation split and, apart, on the test split."""
    archs = list(supernet.space.enumerate())
    validation, test = (
        accuracies(supernet, images, transform, archs, num_threads=num_threads, advance=advance)
        for images in (dataset.validation, dataset.test)
    )
    return Catalog(
        entries=tuple(
            _entry(supernet, arch, round(validation[arch], 5), round(test[arch], 5))
            for arch in archs
        )
    )


def _entry(supernet: Supernet, arch: Architecture, accuracy: float, test: float) -> CatalogEntry:
    cost = complexity(supernet.space, arch)
    return CatalogEntry(
        subnet=arch.id,
        accuracy=accuracy,
        test_accuracy=test,
        macs=cost.macs,
        parameters=cost.parameters,
    )
