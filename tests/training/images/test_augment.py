"""Augmentation and preprocessing against what they say they do."""

from __future__ import annotations

import math
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from supernet.manifest import Preprocessing
from training.images.augment import (
    Transform,
    crop_and_flip,
    random_box,
    random_colours,
    random_flip,
)
from training.images.augmentation import Augmentation


def test_each_image_is_one_of_its_shifts_or_their_mirrors() -> None:
    pixels = torch.randint(0, 256, (40, 2, 6, 6), dtype=torch.uint8)
    cropped = crop_and_flip(pixels, Augmentation(crop_padding=1), torch.Generator().manual_seed(3))
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
    cropped = crop_and_flip(pixels, Augmentation(), torch.Generator().manual_seed(0))
    assert all(
        torch.equal(a, b) or torch.equal(a, b.flip(2)) for a, b in zip(cropped, pixels, strict=True)
    )
    assert not torch.equal(cropped, pixels)


def test_nothing_is_mirrored_that_must_not_be() -> None:
    pixels = torch.randint(0, 256, (20, 1, 5, 5), dtype=torch.uint8)
    cropped = crop_and_flip(pixels, Augmentation(mirror=False), torch.Generator().manual_seed(0))
    assert torch.equal(cropped, pixels)


def test_transform_scales_normalises_and_resizes() -> None:
    transform = Transform(Preprocessing(mean=(0.5, 0.0), std=(0.25, 1.0)))
    pixels = torch.full((3, 2, 8, 8), 255, dtype=torch.uint8)
    x = transform(pixels, 6)
    assert x.shape == (3, 2, 6, 6)
    assert x.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(x[:, 0], torch.full((3, 6, 6), 2.0))
    torch.testing.assert_close(x[:, 1], torch.ones(3, 6, 6))


SIDES = st.integers(1, 3000)


@given(SIDES, SIDES, st.floats(0.01, 1.0), st.integers(0, 1000))
def test_a_random_part_lies_in_the_image_and_is_nearly_square(
    width: int, height: int, min_scale: float, seed: int
) -> None:
    left, top, right, bottom = random_box(width, height, min_scale, Random(seed))
    assert 0 <= left < right <= width + 1e-6
    assert 0 <= top < bottom <= height + 1e-6
    assert 3 / 4 - 1e-6 <= (right - left) / (bottom - top) <= 4 / 3 + 1e-6
    if 3 / 4 <= width / height <= 4 / 3:
        assert (right - left) * (bottom - top) >= min_scale * width * height * (1 - 1e-6)


def test_random_parts_cover_all_sizes_and_places() -> None:
    rng = Random(0)
    boxes = [random_box(500, 375, 0.08, rng) for _ in range(2000)]
    areas = [(b[2] - b[0]) * (b[3] - b[1]) / (500 * 375) for b in boxes]
    assert min(areas) < 0.1
    assert max(areas) > 0.95
    assert 0.4 < sum(areas) / 2000 < 0.54, "large parts of other shapes do not fit"
    assert sum((b[0] + b[2]) / 2 for b in boxes) / 2000 == pytest.approx(250, abs=8)


def test_flips_are_as_often_as_not() -> None:
    image = Image.new("L", (2, 1))
    image.putpixel((0, 0), 255)
    rng = Random(0)
    mirrored = sum(random_flip(image, rng).getpixel((1, 0)) == 255 for _ in range(400))
    assert abs(mirrored - 200) < 4 * math.sqrt(100)


def test_colours_change_by_no_more_than_published() -> None:
    rng = Random(0)
    grey = Image.new("RGB", (2, 2), (100, 100, 100))
    levels = {random_colours(grey, rng).getpixel((0, 0)) for _ in range(200)}
    assert all(isinstance(level, tuple) and len(set(level)) == 1 for level in levels)
    brightness = [level[0] for level in levels if isinstance(level, tuple)]
    assert 86 <= min(brightness) < 92
    assert 108 < max(brightness) <= 113
    coloured = Image.new("RGB", (2, 2), (150, 100, 50))
    spans = [_span(random_colours(coloured, rng)) for _ in range(200)]
    assert 43 <= min(spans) < 60
    assert 140 < max(spans) <= 170


def _span(image: Image.Image) -> int:
    pixel = image.getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return int(max(pixel) - min(pixel))
