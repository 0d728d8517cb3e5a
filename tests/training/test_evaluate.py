"""Evaluation over shared prefixes gives what one subnet after another gives."""

from __future__ import annotations

import torch

from supernet.manifest import Preprocessing
from supernet.model import Supernet
from training.augment import Transform
from training.data import Dataset, Images
from training.evaluate import accuracies, build_catalog

TRANSFORM = Transform(Preprocessing(mean=(0.2,), std=(0.3,)))


def test_equals_each_subnet_alone(folded_supernet: Supernet, images: Images) -> None:
    archs = list(folded_supernet.space.enumerate())
    found = accuracies(folded_supernet, images, TRANSFORM, archs, num_threads=2)
    assert found.keys() == set(archs)
    for arch in archs:
        logits = folded_supernet(TRANSFORM(images.pixels, arch.resolution), arch)
        alone = (logits.argmax(1) == images.labels).double().mean().item()
        assert abs(found[arch] - alone) < 0.011, arch  # a tie may fall either way
    assert len(set(found.values())) > 1


def test_catalog_lists_every_subnet_with_both_splits(
    folded_supernet: Supernet, images: Images
) -> None:
    half = torch.arange(len(images)) < 100
    dataset = Dataset(
        train=images, validation=images.take(half), test=images.take(~half), labels=()
    )
    done: list[int] = []
    catalog = build_catalog(folded_supernet, dataset, TRANSFORM, advance=done.append)
    assert len(catalog) == folded_supernet.space.size()
    assert sum(done) == 200 * len(folded_supernet.space.resolutions)
    arch = folded_supernet.space.largest
    expected = accuracies(folded_supernet, dataset.validation, TRANSFORM, [arch])[arch]
    assert catalog[arch.id].accuracy == expected
