"""From what a caller sends to model input: decoding, checking, resizing, normalising.

Bytes from outside are not trusted: whatever is wrong with them becomes `InvalidRequest`. An
image is decoded straight to the resolution of the subnet chosen; a raw tensor is taken to be
normalised already, and is reduced where the subnet's resolution is lower.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from gateway.errors import InvalidRequest
from gateway.request import ImageInput, ModelInput, TensorInput
from supernet.design_space import DesignSpace
from supernet.manifest import Preprocessing

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 50_000_000  # an image that decodes to more is refused before it is decoded
BYTES_PER_VALUE = 4

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels."""
ChooseBox = Callable[[int, int], Box]


def _whole(width: int, height: int) -> Box:
    return 0.0, 0.0, float(width), float(height)


@dataclass(frozen=True, slots=True)
class InputSize:
    """How many rows an input has, and the highest resolution it can be run at, in pixels; None
    where any can be had."""

    rows: int
    max_resolution: int | None


def size_of(model_input: ModelInput, space: DesignSpace, max_batch: int) -> InputSize:
    """What can be known without looking at the content. Raises `InvalidRequest`."""
    if isinstance(model_input, ImageInput):
        if not model_input.data:
            raise InvalidRequest("image", "", f"the bytes of one image: {_either(FORMATS)}")
        return InputSize(1, None)
    _check_form(model_input, space, max_batch)
    expected = math.prod(model_input.shape) * BYTES_PER_VALUE
    given = memoryview(model_input.data).nbytes
    if given != expected:
        raise InvalidRequest(
            "tensor.raw", given, f"{expected} bytes of FP32 for shape {list(model_input.shape)}"
        )
    return InputSize(model_input.shape[0], model_input.shape[2])


def prepare(
    model_input: ModelInput, resolution: int, space: DesignSpace, preprocessing: Preprocessing
) -> NDArray[np.float32]:
    """Normalised input [B, C, resolution, resolution], C-contiguous. Raises `InvalidRequest`.

    `size_of` has accepted the input before.
    """
    if isinstance(model_input, TensorInput):
        return reduced(tensor_from_raw(model_input), resolution)
    channels = space.skeleton.in_channels
    pixels = decode(model_input.data, resolution, channels, preprocessing.box)
    return normalised(pixels, preprocessing)[None]


def decode(
    data: bytes, resolution: int, channels: int, box: ChooseBox = _whole
) -> NDArray[np.uint8]:
    """Pixels [resolution, resolution, channels] of an encoded image; 1 channel is grayscale.

    `box` gives the part to take, a centred one, from width and height. Resizing is bilinear and
    antialiased. Raises `InvalidRequest` for anything but one image.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_pixels(image)
            small = _shrunk(image, resolution, "L" if channels == 1 else "RGB", box)
    except InvalidRequest:
        raise
    except Exception:  # whatever a decoder does with hostile bytes is the caller's mistake
        raise InvalidRequest(
            "image", bytes(data[:16]), f"one whole image: {_either(FORMATS)}"
        ) from None
    return np.asarray(small).reshape(resolution, resolution, channels)


def normalised(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Model input [C, H, W] of pixels [H, W, C]."""
    mean = np.array(preprocessing.mean, np.float32) * 255
    std = np.array(preprocessing.std, np.float32) * 255
    x = (pixels.astype(np.float32) - mean) / std
    return np.ascontiguousarray(x.transpose(2, 0, 1))


def tensor_from_raw(tensor: TensorInput) -> NDArray[np.float32]:
    """The values [B, C, H, W] of a raw tensor, as they lie there. Raises `InvalidRequest` if not
    finite."""
    x = np.frombuffer(tensor.data, "<f4").astype(np.float32, copy=False).reshape(tensor.shape)
    if not tensor.any_values and not np.isfinite(x).all():
        first = int(np.flatnonzero(~np.isfinite(x))[0])
        raise InvalidRequest("tensor.raw", float(x.flat[first]), f"finite values (value {first})")
    return x


def reduced(x: NDArray[np.float32], resolution: int) -> NDArray[np.float32]:
    """[B, C, H, W] at `resolution`, which is not above H: bilinear, antialiased."""
    if x.shape[-1] == resolution:
        return x
    assert x.shape[-1] > resolution, "a raw tensor is never enlarged"
    planes = [Image.fromarray(plane) for plane in x.reshape(-1, *x.shape[2:])]
    size = (resolution, resolution)
    small = [np.asarray(plane.resize(size, Image.Resampling.BILINEAR)) for plane in planes]
    return np.stack(small).reshape(*x.shape[:2], *size)


def _check_form(tensor: TensorInput, space: DesignSpace, max_batch: int) -> None:
    channels, resolutions = space.skeleton.in_channels, space.resolutions
    expected = f"[1 to {max_batch}, {channels}, R, R] with R one of {list(resolutions)}"
    if tensor.dtype != "FP32":
        raise InvalidRequest("tensor.dtype", tensor.dtype, "'FP32'")
    if len(tensor.shape) != 4:
        raise InvalidRequest("tensor.shape", list(tensor.shape[:8]), expected)
    rows, given_channels, height, width = tensor.shape
    fits = given_channels == channels and height == width and height in resolutions
    if not (fits and 1 <= rows <= max_batch):
        raise InvalidRequest("tensor.shape", list(tensor.shape), expected)


def _check_pixels(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise InvalidRequest("image", f"{width}x{height}", f"at most {MAX_PIXELS} pixels")


def _shrunk(image: Image.Image, resolution: int, mode: str, choose: ChooseBox) -> Image.Image:
    size = (resolution, resolution)
    width, height = image.size
    left, top, right, bottom = choose(width, height)
    least = (2 * resolution * width / (right - left), 2 * resolution * height / (bottom - top))
    image.draft(mode, (math.ceil(least[0]), math.ceil(least[1])))  # JPEG can decode at a fraction
    across, down = image.width / width, image.height / height
    box = (
        left * across,
        top * down,
        min(right * across, image.width),  # rounding must not lead outside the image
        min(bottom * down, image.height),
    )
    plain = _eight_bit(image) if image.mode.startswith("I") else image
    if plain.mode != mode:
        plain = plain.convert(mode)
    if plain.size != size or box != (0, 0, *size):
        plain = plain.resize(size, Image.Resampling.BILINEAR, box)
    return ImageOps.exif_transpose(plain)


def _eight_bit(image: Image.Image) -> Image.Image:
    """A 16-bit grayscale image at 8 bits; Pillow's own conversion would clip it."""
    return Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))


def _either(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
