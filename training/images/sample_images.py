"""Writes a few test images as PNG files, a folder a label: the images that ship.

python -m training.images.sample_images supernet/shipped/images
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from training.images.fashion_mnist import LABELS, read_fashion_mnist
from training.images.memory import Images


def write_samples(images: Images, labels: tuple[str, ...], folder: Path, per_label: int) -> int:
    """Write the first `per_label` images [1, H, W] of each label; returns how many in all."""
    for index, label in enumerate(labels):
        (folder / label).mkdir(parents=True, exist_ok=True)
        of_label = (images.labels == index).nonzero().flatten()[:per_label]
        for number, i in enumerate(of_label.tolist()):
            pixels = images.pixels[i, 0].numpy()
            Image.fromarray(pixels).save(folder / label / f"{number:04}.png", optimize=True)
    return len(list(folder.glob("*/*.png")))


if __name__ == "__main__":
    _, _, test = read_fashion_mnist(None, validation_images=1)
    print(write_samples(test, LABELS, Path(sys.argv[1]), per_label=30), "images")
