"""What a file says of itself."""

from __future__ import annotations

import pytest

from supernet.artifact import Artifact
from supernet.catalog import Catalog
from supernet.manifest import Preprocessing
from tests.training.exports.conftest import SMALLEST
from training.exports.metadata import describe


def test_a_subnet_outside_the_catalog_leaves_without_an_accuracy(tiny: Artifact) -> None:
    unlisted = tiny.manifest.model_copy(update={"catalog": Catalog()})
    listed = describe(tiny.manifest, SMALLEST)
    accuracy = listed.pop("expected_accuracy")
    assert accuracy == tiny.manifest.catalog[SMALLEST.id].accuracy
    assert describe(unlisted, SMALLEST) == listed


@pytest.mark.parametrize(("crop", "part"), [(None, "the whole image"), (0.875, "with 0.875 of")])
def test_the_part_of_the_image_to_take_is_told(
    tiny: Artifact, crop: float | None, part: str
) -> None:
    preprocessing = Preprocessing(mean=(0.5,), std=(0.25,), centre_crop=crop)
    manifest = tiny.manifest.model_copy(update={"preprocessing": preprocessing})
    told = describe(manifest, SMALLEST)["preprocessing"]
    assert part in told["resize"]
    assert told.get("centre_crop") == crop
