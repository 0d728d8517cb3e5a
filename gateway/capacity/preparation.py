"""What it costs here to make model input of an encoded image."""

from __future__ import annotations

import io
import time
from statistics import median

import numpy as np
from PIL import Image, ImageFilter

from gateway import images
from gateway.request import ImageInput
from supernet.manifest import Manifest

_ROUNDS = 20


def preparation_ms(manifest: Manifest) -> float:
    """Milliseconds for one JPEG somewhat larger than the largest resolution; 0 for a net that
    takes no images."""
    space = manifest.design_space
    if space.skeleton.inputs.kind != "image":
        return 0.0
    resolution = max(space.resolutions)
    picture, taken = ImageInput(photograph(resolution * 8 // 7, np.random.default_rng(0))), []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        images.prepare(picture, resolution, space, manifest.preprocessing)
        taken.append(1000 * (time.perf_counter() - began))
    return median(taken)


def photograph(side: int, rng: np.random.Generator) -> bytes:
    """A JPEG of blurred noise: about as many bytes as a photograph of the size."""
    noise = Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8))
    file = io.BytesIO()
    noise.filter(ImageFilter.GaussianBlur(1.5)).save(file, "JPEG", quality=90)
    return file.getvalue()
