"""From bytes to network input: random crop, flip and colours, normalisation, resolution.

All randomness comes from the generator that is passed in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Generator, Tensor
from torch.nn import functional as F

from supernet.layers import channels_last_images
from supernet.manifest import Preprocessing
from training.images.augmentation import Augmentation
from training.images.image_file import Box

# Once-for-All's colour distortion, which CompOFA took over.
_BRIGHTNESS = 32 / 255
_SATURATION = 0.5
_TALLEST, _WIDEST = 3 / 4, 4 / 3  # width over height
_TRIES = 10


@dataclass(frozen=True, slots=True)
class Transform:
    """Pixels [B, C, H, W] in 0..255 → normalised images [B, C, R, R], channels last."""

    preprocessing: Preprocessing

    def __call__(self, pixels: Tensor, resolution: int) -> Tensor:
        x = pixels.float().div_(255.0)
        if resolution != x.shape[-1]:
            size = (resolution, resolution)
            x = F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
        mean = torch.tensor(self.preprocessing.mean).view(1, -1, 1, 1)
        std = torch.tensor(self.preprocessing.std).view(1, -1, 1, 1)
        return channels_last_images((x - mean) / std)


def crop_and_flip(pixels: Tensor, how: Augmentation, generator: Generator) -> Tensor:
    """Each image [B, C, H, W] shifted by up to `crop_padding` pixels and perhaps mirrored."""
    batch, _, height, width = pixels.shape
    padded = F.pad(pixels, (how.crop_padding,) * 4)
    spans = 2 * how.crop_padding + 1
    top = torch.randint(spans, (batch, 1), generator=generator)
    left = torch.randint(spans, (batch, 1), generator=generator)
    mirrored = torch.rand(batch, 1, generator=generator) < 0.5
    rows = top + torch.arange(height)
    columns = left + torch.arange(width)
    if how.mirror:
        columns = torch.where(mirrored, columns.flip(1), columns)
    images = torch.arange(batch)[:, None, None]
    picked = padded[images, :, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)


def random_box(width: int, height: int, min_scale: float, rng: Random) -> Box:
    """A random part of an image: `min_scale` to all of its area, 3:4 to 4:3 (Inception's crop).

    Where ten tries do not fit into the image: its largest centred part of nearly its own shape.
    """
    for _ in range(_TRIES):
        area = width * height * rng.uniform(min_scale, 1.0)
        ratio = math.exp(rng.uniform(math.log(_TALLEST), math.log(_WIDEST)))
        w, h = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if w <= width and h <= height:
            left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
            return left, top, left + w, top + h
    ratio = min(max(width / height, _TALLEST), _WIDEST)
    w, h = min(width, height * ratio), min(height, width / ratio)
    left, top = (width - w) / 2, (height - h) / 2
    return left, top, left + w, top + h


def random_flip(image: Image.Image, rng: Random) -> Image.Image:
    """The image, mirrored half the time."""
    return ImageOps.mirror(image) if rng.random() < 0.5 else image


def random_colours(image: Image.Image, rng: Random) -> Image.Image:
    """The image a little brighter or darker, and with more or less colour, in either order."""
    changes = [
        (ImageEnhance.Brightness, rng.uniform(1 - _BRIGHTNESS, 1 + _BRIGHTNESS)),
        (ImageEnhance.Color, rng.uniform(1 - _SATURATION, 1 + _SATURATION)),
    ]
    rng.shuffle(changes)
    for enhance, factor in changes:
        image = enhance(image).enhance(factor)
    return image
