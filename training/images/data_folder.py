"""What a folder given as `--data` holds, recognised by its content."""

from __future__ import annotations

from pathlib import Path

from supernet.manifest import TextPreprocessing
from training.images import fashion_mnist
from training.images.augment import Transform
from training.images.data import Dataset
from training.images.file_source import FileLoading
from training.images.image_folder import is_image_folder, load_image_folder, numbered
from training.text import words


def open_data_folder(
    folder: Path | None,
    loading: FileLoading,
    *,
    validation_images: int | None = None,
    train_images: int | None = None,
    labels: tuple[str, ...] | None = None,
) -> Dataset:
    """The data set in `folder`: Fashion-MNIST's four `.gz` files or a folder of images.

    None is Fashion-MNIST where it lies on this machine. `labels` are those of a net that the data
    have to fit. `validation_images` are held out where the data have no validation split, half of
    all where it is None. Raises `ValueError`.
    """
    if isinstance(loading.preprocessing, TextPreprocessing):
        return _words(folder, loading.preprocessing, validation_images, train_images)
    if folder is None or holds_fashion_mnist(folder):
        _check_fashion_mnist(loading, labels)
        data = fashion_mnist.load_fashion_mnist(
            folder,
            validation_images,
            train_images,
            transform=Transform(loading.of_images),
            augmentation=loading.augmentation,
        )
        return data
    if is_image_folder(folder):
        return load_image_folder(folder, loading, validation_images, train_images, labels)
    if not folder.is_dir():
        raise ValueError(f"data set {folder}: there is no such folder")
    raise ValueError(
        f"data set {folder}: expected Fashion-MNIST's four .gz files, or a folder of images: "
        "train/CLASS/ and val/CLASS/, or CLASS/"
    )


def _words(
    folder: Path | None,
    preprocessing: TextPreprocessing,
    validation_images: int | None,
    train_images: int | None,
) -> Dataset:
    if folder is not None or preprocessing != words.PREPROCESSING:
        raise ValueError("--data: a net that takes words is trained on those of wordfreq only")
    return words.load_words(validation_images, train_images)


def holds_fashion_mnist(folder: Path) -> bool:
    """Whether any of its files is there; that one is missing is told when they are read."""
    return any((folder / name).exists() for name in fashion_mnist.FILES)


def _check_fashion_mnist(loading: FileLoading, labels: tuple[str, ...] | None) -> None:
    own = fashion_mnist.LABELS
    if labels is not None and labels != own and not numbered(labels, len(own)):
        raise ValueError(
            "the net's labels are not Fashion-MNIST's: give --data with a folder of images"
        )
    if loading.channels != 1:
        raise ValueError(
            f"Fashion-MNIST's images have 1 channel: the net takes {loading.channels}; give --data "
            "with a folder of images"
        )
