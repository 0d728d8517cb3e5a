"""Fashion-MNIST as found on disk: whole, split without overlap, damage named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from training.data import DEBIAN_FOLDER, LABELS, load_fashion_mnist

pytestmark = pytest.mark.skipif(
    not DEBIAN_FOLDER.is_dir(), reason="Debian's dataset-fashion-mnist is not installed"
)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEBIAN_FOLDER, tmp_path / "copy"))


def test_splits_are_whole_balanced_and_disjoint() -> None:
    data = load_fashion_mnist(None, validation_images=5000)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [55_000, 5_000, 10_000]
    assert data.train.pixels.shape == (55_000, 1, 28, 28)
    assert data.labels == LABELS
    assert torch.bincount(data.validation.labels).tolist() == [500] * 10
    assert torch.bincount(data.train.labels).tolist() == [5500] * 10
    again = load_fashion_mnist(DEBIAN_FOLDER, validation_images=5000, train_images=100)
    assert torch.equal(again.validation.pixels, data.validation.pixels)
    assert torch.bincount(again.train.labels).tolist() == [10] * 10


def test_missing_and_damaged_files_are_named(copy: Path) -> None:
    labels = copy / "t10k-labels-idx1-ubyte.gz"
    whole = labels.read_bytes()
    labels.write_bytes(whole[:500])
    with pytest.raises(ValueError, match=r"t10k-labels-idx1-ubyte\.gz cannot be read"):
        load_fashion_mnist(copy, validation_images=10)
    labels.write_bytes((copy / "train-labels-idx1-ubyte.gz").read_bytes())
    with pytest.raises(ValueError, match="not Fashion-MNIST's"):
        load_fashion_mnist(copy, validation_images=10)
    labels.unlink()
    with pytest.raises(ValueError, match="is missing"):
        load_fashion_mnist(copy, validation_images=10)


def test_impossible_split_is_refused() -> None:
    with pytest.raises(ValueError, match="70000 images to take"):
        load_fashion_mnist(None, validation_images=70_000)
