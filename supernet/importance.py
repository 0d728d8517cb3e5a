"""Sorting channels by importance, so that slicing the first ones keeps the best."""

from __future__ import annotations

import torch

from supernet.model import Supernet


def sort_channels(supernet: Supernet) -> None:
    """Permute what every unit shrinks by, most important first, in place.

    The largest subnet computes the same function before and after.
    """
    with torch.no_grad():
        supernet.family.sort_channels(supernet)
