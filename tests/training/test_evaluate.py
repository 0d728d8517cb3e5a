"""Evaluation over shared prefixes gives what one subnet after another gives."""

from __future__ import annotations

import pytest
import torch

from supernet.catalog import Catalog, Int8Accuracy
from supernet.design_space import DesignSpace
from supernet.manifest import Preprocessing
from supernet.model import Supernet
from supernet.normalization import SubnetStatistics, UncalibratedError
from training.calibrate import calibrate_from
from training.evaluate import accuracies, asked_for, build_catalog, with_accuracies
from training.images.augment import Transform
from training.images.data import Dataset, plans_in_order
from training.images.memory import Images, MemorySource

TRANSFORM = Transform(Preprocessing(mean=(0.2,), std=(0.3,)))


@pytest.fixture
def source(images: Images) -> MemorySource:
    return MemorySource(images, TRANSFORM)


def test_equals_each_subnet_alone(folded_supernet: Supernet, source: MemorySource) -> None:
    archs = list(folded_supernet.space.enumerate())
    found = accuracies(folded_supernet, source, archs, num_threads=2)
    assert found.keys() == set(archs)
    for arch in archs:
        logits = folded_supernet(TRANSFORM(source.images.pixels, arch.resolution), arch)
        alone = (logits.argmax(1) == source.labels).double().mean().item()
        assert abs(found[arch] - alone) < 0.011, arch  # a tie may fall either way
    assert len(set(found.values())) > 1


def test_a_part_is_taken_evenly_over_the_classes(folded_supernet: Supernet, images: Images) -> None:
    """The images come class after class, as those of a folder do."""
    ordered = images.take(images.labels.argsort(stable=True))
    arch = folded_supernet.space.largest
    done: list[int] = []
    found = accuracies(
        folded_supernet, MemorySource(ordered, TRANSFORM), [arch], images=50, advance=done.append
    )
    logits = folded_supernet(TRANSFORM(images.pixels[:50], arch.resolution), arch)
    assert sum(done) == 50
    assert found[arch] == pytest.approx(
        (logits.argmax(1) == images.labels[:50]).double().mean().item()
    )


def test_large_images_come_in_smaller_batches() -> None:
    def sizes(resolution: int) -> list[int]:
        return [len(p.indices) for p in plans_in_order(torch.arange(2001), resolution, 500)]

    assert sizes(28) == [401, 400, 400, 400, 400]
    assert max(sizes(224)) <= 100
    assert sum(sizes(224)) == 2001


def test_catalog_lists_every_subnet_with_both_splits(
    folded_supernet: Supernet, images: Images
) -> None:
    half = torch.arange(len(images)) < 100
    splits = [MemorySource(images.take(part), TRANSFORM) for part in (half, ~half)]
    dataset = Dataset(splits[0], splits[0], splits[1], labels=())
    done: list[int] = []
    catalog = build_catalog(folded_supernet, dataset, advance=done.append)
    assert len(catalog) == folded_supernet.space.size()
    assert sum(done) == 200 * len(folded_supernet.space.resolutions)
    arch = folded_supernet.space.largest
    for split, accuracy in (
        (dataset.validation, catalog[arch.id].accuracy),
        (dataset.test, catalog[arch.id].test_accuracy),
    ):
        assert split is not None
        assert accuracies(folded_supernet, split, [arch])[arch] == accuracy
    untested = build_catalog(folded_supernet, Dataset(splits[0], splits[0], None, labels=()))
    assert {entry.test_accuracy for entry in untested.entries} == {None}


def test_a_subnet_without_statistics_is_named(space: DesignSpace, source: MemorySource) -> None:
    supernet = Supernet(space, SubnetStatistics()).requires_grad_(False)
    known, unknown = space.smallest, space.largest
    calibrate_from(supernet, source, archs=[known])
    assert accuracies(supernet, source, [known]).keys() == {known}
    with pytest.raises(UncalibratedError, match=rf"subnet {unknown.id}: .* --subnet {unknown.id}"):
        accuracies(supernet, source, [known, unknown])


def test_ids_are_checked(space: DesignSpace) -> None:
    assert asked_for(None, space) == list(space.enumerate())
    assert asked_for(["d2-3@12"], space)[0].depths == (2, 3)
    with pytest.raises(ValueError, match="subnet d2-5@12: expected 2 depths"):
        asked_for(["d2-5@12"], space)


def test_measured_accuracies_replace_older_ones(space: DesignSpace, catalog: Catalog) -> None:
    one, other = space.smallest, space.largest
    changed = with_accuracies(catalog, space, validation={one: 0.123456})
    assert len(changed) == len(catalog)
    assert changed[one.id].accuracy == 0.12346
    assert changed[one.id].test_accuracy == catalog[one.id].test_accuracy
    assert changed[other.id] == catalog[other.id]
    int8 = Int8Accuracy(format="onnx", accuracy=0.5, float_accuracy=0.6, images=9)
    quantised = catalog.replaced(catalog[one.id].with_int8(int8))
    assert with_accuracies(quantised, space, validation={one: 0.1})[one.id].int8 == (int8,)
    tested = with_accuracies(catalog, space, test={one: 0.5})
    assert (tested[one.id].accuracy, tested[one.id].test_accuracy) == (
        catalog[one.id].accuracy,
        0.5,
    )
    with pytest.raises(ValueError, match="not in the catalog: evaluate validation first"):
        with_accuracies(Catalog(), space, test={one: 0.5})


def test_predictions_do_not_stay_beside_measurements(space: DesignSpace, catalog: Catalog) -> None:
    predicted = catalog.model_copy(update={"predicted_by": "a predictor"})
    measured = with_accuracies(predicted, space, validation={space.smallest: 0.5})
    assert [entry.subnet for entry in measured.entries] == [space.smallest.id]
    assert measured.predicted_by is None
    assert with_accuracies(predicted, space, test={space.smallest: 0.5}).predicted_by is not None
