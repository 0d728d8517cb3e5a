"""How training images are varied, as a value that needs no torch to be read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Augmentation:
    """The fields of the same names in a recipe, where each is described."""

    crop_padding: int = 0
    min_scale: float = 0.08
    mirror: bool = True
    colour_jitter: bool = False
