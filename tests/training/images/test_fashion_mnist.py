"""Fashion-MNIST as found on disk: whole, split without overlap, damage named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from supernet.manifest import Preprocessing
from training.images.data_folder import open_data_folder
from training.images.fashion_mnist import (
    DEBIAN_FOLDER,
    LABELS,
    read_fashion_mnist,
)
from training.images.file_source import FileLoading

pytestmark = pytest.mark.skipif(
    not DEBIAN_FOLDER.is_dir(), reason="Debian's dataset-fashion-mnist is not installed"
)
GREY = Preprocessing(mean=(0.2,), std=(0.3,))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEBIAN_FOLDER, tmp_path / "copy"))


def test_splits_are_whole_balanced_and_disjoint() -> None:
    train, validation, test = read_fashion_mnist(None, validation_images=5000)
    assert [len(s) for s in (train, validation, test)] == [55_000, 5_000, 10_000]
    assert train.pixels.shape == (55_000, 1, 28, 28)
    assert torch.bincount(validation.labels).tolist() == [500] * 10
    assert torch.bincount(train.labels).tolist() == [5500] * 10
    fewer, again, _ = read_fashion_mnist(DEBIAN_FOLDER, validation_images=5000, train_images=100)
    assert torch.equal(again.pixels, validation.pixels)
    assert torch.bincount(fewer.labels).tolist() == [10] * 10


def test_missing_and_damaged_files_are_named(copy: Path) -> None:
    labels = copy / "t10k-labels-idx1-ubyte.gz"
    whole = labels.read_bytes()
    labels.write_bytes(whole[:500])
    with pytest.raises(ValueError, match=r"t10k-labels-idx1-ubyte\.gz cannot be read"):
        read_fashion_mnist(copy, validation_images=10)
    labels.write_bytes((copy / "train-labels-idx1-ubyte.gz").read_bytes())
    with pytest.raises(ValueError, match="not Fashion-MNIST's"):
        read_fashion_mnist(copy, validation_images=10)
    labels.unlink()
    with pytest.raises(ValueError, match="is missing"):
        read_fashion_mnist(copy, validation_images=10)


def test_its_folder_is_recognised(copy: Path) -> None:
    data = open_data_folder(copy, FileLoading(GREY), validation_images=10, labels=LABELS)
    assert data.labels == LABELS
    assert len(data.validation) == 10
    three = Preprocessing(mean=(0.2,) * 3, std=(0.3,) * 3)
    with pytest.raises(ValueError, match="1 channel: the net takes 3"):
        open_data_folder(copy, FileLoading(three))
    with pytest.raises(ValueError, match="the net's labels are not"):
        open_data_folder(copy, FileLoading(GREY), labels=("a", "b"))


def test_impossible_split_is_refused() -> None:
    with pytest.raises(
        ValueError, match="validation_images: expected 1 to 59999 of the images, got 70000"
    ):
        read_fashion_mnist(None, validation_images=70_000)
