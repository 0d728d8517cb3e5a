"""From bytes to network input: random crop and flip, normalisation, resolution.

All randomness comes from the generator that is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from supernet.manifest import Preprocessing


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
        return ((x - mean) / std).contiguous(memory_format=torch.channels_last)


def crop_and_flip(pixels: Tensor, padding: int, generator: Generator) -> Tensor:
    """Each image [B, C, H, W] shifted by up to `padding` pixels and mirrored half the time."""
    batch, _, height, width = pixels.shape
    padded = F.pad(pixels, (padding,) * 4)
    spans = 2 * padding + 1
    top = torch.randint(spans, (batch, 1), generator=generator)
    left = torch.randint(spans, (batch, 1), generator=generator)
    mirrored = torch.rand(batch, 1, generator=generator) < 0.5
    rows = top + torch.arange(height)
    columns = left + torch.arange(width)
    columns = torch.where(mirrored, columns.flip(1), columns)
    images = torch.arange(batch)[:, None, None]
    picked = padded[images, :, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)
