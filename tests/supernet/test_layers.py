"""Images are stored as convolutions run fastest, and stay what they are."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from supernet.layers import channels_last, channels_last_images


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("batch", [1, 4])
def test_images_channels_last_make_convolutions_go_on_so(batch: int, channels: int) -> None:
    x = torch.randn(batch, channels, 6, 5)
    stored = channels_last_images(x)
    assert torch.equal(stored, x)
    assert stored.stride() == (channels * 30, 1, channels * 5, channels)
    y = channels_last(nn.Conv2d(channels, 8, 3))(stored)
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_images_that_are_views_are_stored_anew() -> None:
    x = torch.arange(64.0).view(1, 1, 8, 8)[:, :, ::2, ::2]
    stored = channels_last_images(x)
    assert torch.equal(stored, x)
    assert stored.stride() == (16, 1, 4, 1)
