"""Augmentation and preprocessing against what they say they do."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from supernet.manifest import Preprocessing
from training.augment import Transform, crop_and_flip


def test_each_image_is_one_of_its_shifts_or_their_mirrors() -> None:
    pixels = torch.randint(0, 256, (40, 2, 6, 6), dtype=torch.uint8)
    cropped = crop_and_flip(pixels, 1, torch.Generator().manual_seed(3))
    padded = F.pad(pixels, (1, 1, 1, 1))
    kinds = set()
    for i in range(40):
        shifts = {
            (top, left): padded[i, :, top : top + 6, left : left + 6]
            for top in range(3)
            for left in range(3)
        }
        found = [
            (*place, mirrored)
            for place, shifted in shifts.items()
            for mirrored in (False, True)
            if torch.equal(cropped[i], shifted.flip(2) if mirrored else shifted)
        ]
        assert found, f"image {i} is no shift of its original"
        kinds.add(found[0])
    assert len(kinds) > 9, "shifts and mirrors vary from image to image"


def test_no_padding_only_mirrors() -> None:
    pixels = torch.randint(0, 256, (20, 1, 5, 5), dtype=torch.uint8)
    cropped = crop_and_flip(pixels, 0, torch.Generator().manual_seed(0))
    assert all(
        torch.equal(a, b) or torch.equal(a, b.flip(2)) for a, b in zip(cropped, pixels, strict=True)
    )


def test_transform_scales_normalises_and_resizes() -> None:
    transform = Transform(Preprocessing(mean=(0.5, 0.0), std=(0.25, 1.0)))
    pixels = torch.full((3, 2, 8, 8), 255, dtype=torch.uint8)
    x = transform(pixels, 6)
    assert x.shape == (3, 2, 6, 6)
    assert x.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(x[:, 0], torch.full((3, 6, 6), 2.0))
    torch.testing.assert_close(x[:, 1], torch.ones(3, 6, 6))
