"""From what a caller sends to model input: decoding, checking, resizing, normalising.

Bytes from outside are not trusted: whatever is wrong with them becomes `InvalidRequest`. An
image is decoded straight to the resolution of the subnet chosen; a raw tensor is taken to be
normalised already, and is reduced where the subnet's resolution is lower. Tokens come raw only;
a subnet that reads fewer takes the first.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from gateway.errors import GatewayError, InvalidRequest
from gateway.request import ImageInput, ModelInput, TensorInput
from supernet.design_space import DesignSpace
from supernet.manifest import AnyPreprocessing, Preprocessing
from supernet.skeleton import Inputs

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 50_000_000  # an image that decodes to more is refused before it is decoded
MAX_SIDE = 65_535  # pixels, as JPEG has it: what resizing keeps grows with the side
MAX_SCANNED = 20 * MAX_PIXELS
"""Pixels of all scans of a JPEG: each goes through all of it again, and may take few bytes."""
LARGE = 4_000_000  # pixels of all scans: decoding them takes longer than most batches run
_SCAN, _OF_JPEG = b"\xff\xda", ("JPEG", "MPO")  # elsewhere a 0xff is followed by 0
ELEMENTS: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "INT64": np.dtype("<i8")}
"""On the wire, by what protocols call them."""

Values = NDArray[np.float32] | NDArray[np.int64]
Pixels = NDArray[np.uint8]
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
    """What can be known without a look at the values. Raises `InvalidRequest` for a form that the
    net does not take."""
    inputs = space.skeleton.inputs
    if isinstance(model_input, ImageInput):
        if inputs.kind != "image":
            raise InvalidRequest("input", "image", f"a tensor of {inputs.kind}")
        if not model_input.data:
            raise InvalidRequest("image", "", f"the bytes of one image: {_either(FORMATS)}")
        return InputSize(1, None)
    _check_form(model_input, inputs, space.resolutions, max_batch)
    expected = math.prod(model_input.shape) * ELEMENTS[inputs.dtype].itemsize
    given = memoryview(model_input.data).nbytes
    if given != expected:
        form = f"{inputs.dtype} for shape {list(model_input.shape)}"
        raise InvalidRequest("tensor.raw", given, f"{expected} bytes of {form}")
    return InputSize(model_input.shape[0], model_input.shape[-1])


def prepare(
    model_input: ModelInput, resolution: int, space: DesignSpace, preprocessing: AnyPreprocessing
) -> Values:
    """What the net takes at a resolution, batch first, C-contiguous. Raises `InvalidRequest`.

    `size_of` has accepted the input before.
    """
    return together([at(model_input, resolution, space, preprocessing)], preprocessing)


def at(
    model_input: ModelInput, resolution: int, space: DesignSpace, preprocessing: AnyPreprocessing
) -> Values | Pixels:
    """`prepare` without its last step, which is quicker for many at once: an image comes as pixels
    [1, R, R, C]."""
    inputs = space.skeleton.inputs
    if isinstance(model_input, TensorInput):
        x = _raw(model_input)
        if not model_input.any_values:
            _check_values(x, inputs)
        if inputs.kind == "image":
            return reduced(x.astype(np.float32, copy=False), resolution)
        if model_input.any_values:
            x = np.where(_no_tokens(x, inputs), 0, x)
        return np.ascontiguousarray(x[:, :resolution], np.int64)
    assert isinstance(preprocessing, Preprocessing), "size_of takes images for nets of images"
    return decode(model_input.data, resolution, inputs.channels, preprocessing.box)[None]


def together(inputs: Sequence[Values | Pixels], preprocessing: AnyPreprocessing) -> Values:
    """What `at` has given, as the net takes it: [B, ...] of some [b, ...], pixels normalised.

    Of pixels alone in one step. numpy gives the interpreter's lock up for each step, and on busy
    cores it takes long to have it back.
    """
    kinds = {x.dtype.kind for x in inputs}
    if kinds == {"u"}:
        assert isinstance(preprocessing, Preprocessing), "pixels are of nets of images"
        return normalised(_joined(inputs), preprocessing)
    return _joined([together([x], preprocessing) if x.dtype.kind == "u" else x for x in inputs])


def _joined(inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Of C-contiguous ones, in one call that keeps the interpreter's lock."""
    if len(inputs) == 1:
        return inputs[0]
    first = inputs[0]
    joined = np.frombuffer(bytearray().join(x.data for x in inputs), first.dtype)
    return joined.reshape(-1, *first.shape[1:])


def is_ready(model_input: ModelInput, resolution: int) -> bool:
    """Whether `prepare` has next to nothing to do."""
    return isinstance(model_input, TensorInput) and model_input.shape[-1] == resolution


def is_large(model_input: ModelInput) -> bool:
    """Whether `prepare` takes so long that nobody else should wait for it."""
    if not isinstance(model_input, ImageInput):
        return False
    try:
        with Image.open(io.BytesIO(model_input.data), formats=FORMATS) as image:
            return _scanned(image, model_input.data) > LARGE
    except Exception:  # no image: that is quickly told
        return False


def decode(data: bytes, resolution: int, channels: int, box: ChooseBox = _whole) -> Pixels:
    """Pixels [resolution, resolution, channels] of an encoded image; 1 channel is grayscale.

    `box` gives the part to take, a centred one, from width and height. Resizing is bilinear and
    antialiased. Raises `InvalidRequest` for anything but one image.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_pixels(image)
            _check_scans(image, data)
            small = _shrunk(image, resolution, "L" if channels == 1 else "RGB", box)
    except InvalidRequest:
        raise
    except MemoryError:
        raise GatewayError() from None  # ours, and not the caller's
    except Exception:  # whatever a decoder does with hostile bytes is the caller's mistake
        raise InvalidRequest(
            "image", bytes(data[:16]), f"one whole image: {_either(FORMATS)}"
        ) from None
    return np.asarray(small).reshape(resolution, resolution, channels)


def normalised(pixels: Pixels, preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Model input [..., C, H, W] of pixels [..., H, W, C], C-contiguous."""
    mean = np.array(preprocessing.mean, np.float32)[:, None, None] * 255
    std = np.array(preprocessing.std, np.float32)[:, None, None] * 255
    planes = np.moveaxis(pixels, -1, -3)  # laid out anew in the first step: several times as fast
    x: NDArray[np.float32] = np.subtract(planes, mean, order="C", dtype=np.float32)
    x /= std
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


def _check_form(
    tensor: TensorInput, inputs: Inputs, resolutions: Sequence[int], max_batch: int
) -> None:
    if tensor.dtype != inputs.dtype:
        raise InvalidRequest("tensor.dtype", tensor.dtype, repr(inputs.dtype))
    rows, *row = tensor.shape or (0,)
    if not (1 <= rows <= max_batch and any(inputs.shape(r) == tuple(row) for r in resolutions)):
        form = ", ".join(["R"] if inputs.kind == "tokens" else [str(inputs.channels), "R", "R"])
        expected = f"[1 to {max_batch}, {form}] with R one of {list(resolutions)}"
        raise InvalidRequest("tensor.shape", list(tensor.shape[:8]), expected)


def _raw(tensor: TensorInput) -> NDArray[Any]:
    """The values of a tensor of the right form, as they lie there."""
    return np.frombuffer(tensor.data, ELEMENTS[tensor.dtype]).reshape(tensor.shape)


def _check_values(x: NDArray[Any], inputs: Inputs) -> None:
    images = inputs.kind == "image"
    if images and _has_finite_sum(x):
        return
    wrong = ~np.isfinite(x) if images else _no_tokens(x, inputs)
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        expected = "finite values" if images else f"tokens from 0 to {inputs.vocabulary - 1}"
        raise InvalidRequest("tensor.raw", x.flat[first].item(), f"{expected} (value {first})")


def _has_finite_sum(x: NDArray[Any]) -> bool:
    """Then all values are finite: one step, where to look at each would be three of them. Very
    large finite values may have none."""
    with np.errstate(over="ignore", invalid="ignore"):
        return math.isfinite(x.sum())


def _no_tokens(x: NDArray[Any], inputs: Inputs) -> NDArray[np.bool_]:
    return (x < 0) | (x >= inputs.vocabulary)


def _check_pixels(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise InvalidRequest("image", f"{width}x{height}", f"at most {MAX_PIXELS} pixels")
    if max(width, height) > MAX_SIDE:
        raise InvalidRequest("image", f"{width}x{height}", f"sides of at most {MAX_SIDE} pixels")


def _check_scans(image: Image.Image, data: bytes) -> None:
    if (scanned := _scanned(image, data)) > MAX_SCANNED:
        width, height = image.size
        expected = f"fewer, so that all scan at most {MAX_SCANNED} pixels"
        given = f"{scanned // (width * height)} scans of {width}x{height}"
        raise InvalidRequest("image", given, expected)


def _scanned(image: Image.Image, data: bytes) -> int:
    """Pixels that decoding goes through."""
    scans = data.count(_SCAN) if image.format in _OF_JPEG else 1
    return scans * image.width * image.height


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
    with suppress(Exception):  # what cannot be read turns nothing
        ImageOps.exif_transpose(plain, in_place=True)
    return plain


def _eight_bit(image: Image.Image) -> Image.Image:
    """A 16-bit grayscale image at 8 bits; Pillow's own conversion would clip it."""
    plain = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    plain.info = image.info  # says which way up it is
    return plain


def _either(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
