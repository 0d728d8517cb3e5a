"""Which images INT8 is calibrated by and measured on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from supernet import shipped
from supernet.artifact import Artifact
from training.exports.int8_images import open_int8_images
from training.images import fashion_mnist


@pytest.fixture
def _no_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "absent")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.mark.usefixtures("_no_data_set")
def test_where_nothing_else_lies_here_the_shipped_images_serve(fashion: Artifact) -> None:
    images = open_int8_images(fashion.manifest, None, 0)
    assert (len(images.calibration), len(images.measured)) == (100, 200)
    assert images.split == "sample"
    assert images.calibration.labels.bincount().tolist() == [10] * 10
    x = images.calibration_input(20, 300)
    assert x.shape == (100, 1, 20, 20)
    batches = list(images.batches(20))
    assert all(batch.x.is_contiguous() for batch in batches)
    apart = torch.cat([batch.x for batch in batches])
    assert not any(torch.equal(a, b) for a in x for b in apart)


@pytest.mark.skipif(fashion_mnist.found() is None, reason="Fashion-MNIST is not on this machine")
def test_the_validation_split_is_the_one_trained_beside(fashion: Artifact) -> None:
    images = open_int8_images(fashion.manifest, None, 0)
    ledger = fashion.manifest.ledger
    assert ledger is not None
    assert images.split == "validation"
    assert len(images.measured) == ledger.validation_images
    labels = images.calibration_input(20, 30)
    assert labels.shape == (30, 1, 20, 20)


def test_a_folder_of_images_serves(fashion: Artifact) -> None:
    folder = shipped.images()[0][0].parents[1]
    images = open_int8_images(fashion.manifest, folder, 0)
    assert (len(images.calibration), len(images.measured)) == (150, 150)
    assert images.split == "validation"


def test_another_net_asks_for_images(tiny: Artifact) -> None:
    with pytest.raises(ValueError, match=r"^--data: INT8 needs images"):
        open_int8_images(tiny.manifest, None, 0)
