"""Inputs for the tiny net, and batches of them."""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gateway.request import ImageInput, ModelInput, TensorInput
from gateway.workers.batch import Batch

SUBNET, LARGEST = "d2-3@16", "d4-4@16"


def image(seed: int = 0, side: int = 16) -> ImageInput:
    """Noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)
    return encoded(Image.fromarray(pixels))


def large_image() -> ImageInput:
    """Black, and few bytes, but more pixels than others should wait for."""
    return encoded(Image.new("L", (2001, 2000)))


def encoded(picture: Image.Image) -> ImageInput:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return ImageInput(buffer.getvalue())


def tensor(seed: int = 0, rows: int = 1) -> TensorInput:
    return raw(np.random.default_rng(seed).normal(size=(rows, 1, 16, 16)).astype(np.float32))


def raw(x: NDArray[np.float32], *, any_values: bool = False) -> TensorInput:
    return TensorInput("FP32", x.shape, x.tobytes(), any_values)


def batch(*inputs: ModelInput, subnet: str = SUBNET, side_by_side: bool = False) -> Batch:
    """With all the time in the world."""
    return Batch(subnet, inputs, (math.inf,) * len(inputs), side_by_side)
