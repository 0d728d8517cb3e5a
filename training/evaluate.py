"""Accuracy of subnets at their resolutions, computing shared prefixes once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch

from supernet.architecture import Architecture
from supernet.catalog import Catalog, CatalogEntry
from supernet.complexity import complexity
from supernet.design_space import DesignSpace
from supernet.model import Supernet
from supernet.normalization import SubnetStatistics, UncalibratedError
from supernet.normalization_shapes import normalization_shapes
from training.images.ahead import computed_ahead
from training.images.data import Batch, Dataset, ImageSource, plans_in_order, stratified

BATCH_SIZE = 250
Advance = Callable[[int], None]
"""Called with the number of images done."""


def accuracies(
    supernet: Supernet,
    source: ImageSource,
    archs: Iterable[Architecture],
    *,
    images: int | None = None,
    num_threads: int = 1,
    advance: Advance | None = None,
) -> dict[Architecture, float]:
    """Top-1 accuracy in [0, 1] of each architecture on `source`, or on `images` of it.

    The images are then taken evenly over the classes. Batches run side by side on `num_threads`
    threads, each with one of torch's own; those of one resolution share the prefixes of their
    subnets. Raises `UncalibratedError` for a subnet whose statistics were never measured.
    """
    groups = by_resolution(archs)
    check_calibrated(supernet, [arch for group in groups.values() for arch in group])
    chosen = torch.arange(len(source))
    if images is not None and images < len(source):
        chosen = stratified(source.labels, images)
    correct = {arch: 0 for group in groups.values() for arch in group}
    torch.set_num_threads(1)
    for resolution, group in groups.items():
        count = partial(_correct, supernet, group)
        plans = plans_in_order(chosen, resolution, BATCH_SIZE)
        batches = (told(batch, advance) for batch in source.batches(plans))
        for found in computed_ahead(count, batches, num_threads=num_threads):
            for arch, number in found.items():
                correct[arch] += number
    return {arch: number / len(chosen) for arch, number in correct.items()}


def by_resolution(archs: Iterable[Architecture]) -> dict[int, list[Architecture]]:
    """The architectures, each once, grouped by what can share images and prefixes."""
    groups: dict[int, list[Architecture]] = {}
    for arch in dict.fromkeys(archs):
        groups.setdefault(arch.resolution, []).append(arch)
    return groups


def told(batch: Batch, advance: Advance | None) -> Batch:
    """The batch, after its number of images has been told."""
    if advance is not None:
        advance(len(batch.labels))
    return batch


@torch.inference_mode()
def _correct(
    supernet: Supernet, group: Sequence[Architecture], batch: Batch
) -> dict[Architecture, int]:
    """Correct answers on one batch for architectures of one resolution."""
    device = supernet.classifier.weight.device
    x, labels = batch.x.to(device), batch.labels.to(device)
    paths = {supernet.space.variants(arch): arch for arch in group}
    return {
        paths[path]: int((logits.argmax(1) == labels).sum())
        for path, logits in supernet.run_paths(x, group[0].resolution, paths)
    }


def check_calibrated(supernet: Supernet, archs: Iterable[Architecture]) -> None:
    """Raise `UncalibratedError` naming the first subnet that lacks statistics of its own."""
    for arch in archs:
        if not is_calibrated(supernet, arch):
            raise UncalibratedError(
                f"subnet {arch.id}: it has no batch-norm statistics; measure them with "
                f"'compofa calibrate ARTIFACT --subnet {arch.id}'"
            )


def is_calibrated(supernet: Supernet, arch: Architecture) -> bool:
    """Whether the subnet can be run: always, unless the net keeps statistics per subnet."""
    norm = supernet.normalization
    if not isinstance(norm, SubnetStatistics):
        return True
    return norm.values.keys() >= normalization_shapes(norm.kind, supernet.space, [arch]).keys()


def asked_for(subnets: Sequence[str] | None, space: DesignSpace) -> list[Architecture]:
    """The subnets with the given ids, checked, or all that a catalog lists."""
    if not subnets:
        return list(space.representatives())
    archs = [Architecture.parse(subnet) for subnet in subnets]
    for arch in archs:
        space.check(arch)
    return archs


def build_catalog(
    supernet: Supernet,
    dataset: Dataset,
    *,
    images: int | None = None,
    num_threads: int = 1,
    advance: Advance | None = None,
) -> Catalog:
    """Every subnet a catalog lists, with its accuracy on the validation split and, apart, on the
    test split where there is one; on `images` of each, or all."""

    def measured(source: ImageSource) -> dict[Architecture, float]:
        return accuracies(
            supernet,
            source,
            supernet.space.representatives(),
            images=images,
            num_threads=num_threads,
            advance=advance,
        )

    catalog = with_accuracies(Catalog(), supernet.space, validation=measured(dataset.validation))
    if dataset.test is None:
        return catalog
    return with_accuracies(catalog, supernet.space, test=measured(dataset.test))


def with_accuracies(
    catalog: Catalog,
    space: DesignSpace,
    *,
    validation: dict[Architecture, float] | None = None,
    test: dict[Architecture, float] | None = None,
) -> Catalog:
    """The catalog with measured accuracies in place of older ones; subnets may be new to it.

    Predicted entries do not stay beside measured ones. Raises `ValueError` for a test accuracy
    of a subnet that has none on the validation split, which selection goes by.
    """
    stay = () if validation and catalog.predicted_by else catalog.entries
    entries = {entry.subnet: entry for entry in stay}
    for arch, accuracy in (validation or {}).items():
        entries[arch.id] = _entry(space, arch, accuracy, entries.get(arch.id))
    for arch, accuracy in (test or {}).items():
        if arch.id not in entries:
            raise ValueError(f"subnet {arch.id}: not in the catalog: evaluate validation first")
        changed = {"test_accuracy": round(accuracy, 5)}
        entries[arch.id] = entries[arch.id].model_copy(update=changed)
    predicted_by = None if validation else catalog.predicted_by
    return Catalog(entries=tuple(entries.values()), predicted_by=predicted_by)


def _entry(
    space: DesignSpace, arch: Architecture, accuracy: float, old: CatalogEntry | None
) -> CatalogEntry:
    cost = complexity(space, arch)
    return CatalogEntry(
        subnet=arch.id,
        accuracy=round(accuracy, 5),
        test_accuracy=old.test_accuracy if old else None,
        macs=cost.macs,
        parameters=cost.parameters,
        int8=old.int8 if old else None,
    )
