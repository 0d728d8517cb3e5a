"""Fashion-MNIST: found, downloaded, checked, split.

Knows nothing of models. Files are IDX (LeCun et al.), gzipped as they are distributed.
"""

from __future__ import annotations

import gzip
import hashlib
import urllib.request
import zlib
from http.client import HTTPException
from pathlib import Path

import numpy as np
import platformdirs
import torch

from supernet.durable import write_file
from training.images.augment import Transform
from training.images.augmentation import Augmentation
from training.images.data import Dataset, stratified
from training.images.memory import Images, MemorySource

LABELS = (
    "t-shirt", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle-boot",
)  # fmt: skip
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # package dataset-fashion-mnist
_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
# SHA-256 of the unpacked content: distributors compress it differently.
FILES = {
    "train-images-idx3-ubyte.gz": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
    ),
    "train-labels-idx1-ubyte.gz": (
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
    ),
}


def load_fashion_mnist(
    folder: Path | None,
    validation_images: int | None,
    train_images: int | None = None,
    *,
    transform: Transform,
    augmentation: Augmentation,
) -> Dataset:
    """Fashion-MNIST as sources of 28x28 images of one channel, split by `read_fashion_mnist`."""
    train, validation, test = (
        MemorySource(images, transform, augmentation)
        for images in read_fashion_mnist(folder, validation_images, train_images)
    )
    return Dataset(train, validation, test, LABELS, f"Fashion-MNIST, {len(train)} images")


def read_fashion_mnist(
    folder: Path | None, validation_images: int | None, train_images: int | None = None
) -> tuple[Images, Images, Images]:
    """The 60,000 + 10,000 images of Fashion-MNIST: training, validation and test.

    The validation images, half of all where it is None, are held out of the training images,
    evenly over the classes; of the rest, `train_images` stay. `folder` holds the four `.gz`
    files; None looks where Debian's package puts them and else downloads them once. Raises
    `ValueError` for a missing or damaged file.
    """
    folder = folder or _find_or_download()
    train = _read_split(folder, "train")
    if validation_images is None:
        validation_images = len(train) // 2
    held_out = stratified(train.labels, validation_images, "validation_images")
    rest = torch.ones(len(train), dtype=torch.bool)
    rest[held_out] = False
    remaining = train.take(rest.nonzero().flatten())
    if train_images is not None:
        remaining = remaining.take(stratified(remaining.labels, train_images, "train_images"))
    return remaining, train.take(held_out), _read_split(folder, "t10k")


def _read_split(folder: Path, split: str) -> Images:
    pixels = _read(folder, f"{split}-images-idx3-ubyte.gz", header=16)
    labels = _read(folder, f"{split}-labels-idx1-ubyte.gz", header=8)
    return Images(
        torch.from_numpy(pixels.reshape(-1, 1, 28, 28).copy()),
        torch.from_numpy(labels.astype(np.int64)),
    )


def _read(folder: Path, name: str, header: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    try:
        packed = (folder / name).read_bytes()
    except FileNotFoundError:
        raise ValueError(f"data set {folder}: {name} is missing") from None
    return np.frombuffer(_unpacked(packed, name, str(folder)), np.uint8, offset=header)


def _unpacked(packed: bytes, name: str, source: str) -> bytes:
    """The content of a file, checked against its SHA-256."""
    try:
        content = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error):
        raise ValueError(f"data set {source}: {name} cannot be read or is truncated") from None
    if hashlib.sha256(content).hexdigest() != FILES[name]:
        raise ValueError(f"data set {source}: {name} is not Fashion-MNIST's: wrong SHA-256")
    return content


def found() -> Path | None:
    """Where its files lie on this machine; None where they would have to be downloaded."""
    for folder in (DEBIAN_FOLDER, _cache_folder()):
        if all((folder / name).is_file() for name in FILES):
            return folder
    return None


def _find_or_download() -> Path:
    there = found()
    if there is not None:
        return there
    folder = _cache_folder()
    for name in FILES:
        if not (folder / name).is_file():
            _download(name, folder)
    return folder


def _cache_folder() -> Path:
    return platformdirs.user_cache_path("compofa") / "fashion-mnist"


def _download(name: str, folder: Path) -> None:
    """Keep a file only once it is known to be the right one."""
    try:
        with urllib.request.urlopen(_URL + name, timeout=60) as response:
            packed = response.read()
    except (OSError, HTTPException) as error:
        raise ValueError(
            f"data set Fashion-MNIST: cannot download {_URL}{name} ({error}); install Debian's "
            "dataset-fashion-mnist or give --data"
        ) from None
    _unpacked(packed, name, _URL)
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / name, packed)
