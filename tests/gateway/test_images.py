from __future__ import annotations

import io
import math
import struct
import time
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from gateway import images
from gateway.errors import InvalidRequest
from gateway.request import ImageInput, TensorInput
from supernet.design_space import DesignSpace
from supernet.manifest import Preprocessing

GRAY = Preprocessing(mean=(0.5,), std=(0.25,))


def encoded(pixels: NDArray[np.uint8] | NDArray[np.uint16], format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, **({"lossless": True} if format == "WEBP" else {}))
    return buffer.getvalue()


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def raw(x: NDArray[np.float32], dtype: str = "FP32") -> TensorInput:
    return TensorInput(dtype, x.shape, x.astype("<f4").tobytes())


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_pixels_at_the_resolution_are_kept_exactly(format: str) -> None:
    gray = noise(16, 16)
    expected = np.stack([gray] * 3, axis=-1)
    data = encoded(expected if format == "WEBP" else gray, format)
    assert (images.decode(data, 16, 1)[..., 0] == gray).all()
    assert (images.decode(data, 16, 3) == expected).all()


def test_an_image_becomes_normalised_input(space: DesignSpace) -> None:
    pixels = noise(16, 16)
    x = images.prepare(ImageInput(encoded(pixels)), 16, space, GRAY)
    assert x.shape == (1, 1, 16, 16)
    assert x.dtype == np.float32
    assert np.allclose(x[0, 0], (pixels / 255 - 0.5) / 0.25, atol=1e-6)


def test_reducing_antialiases_as_in_training() -> None:
    pixels = noise(28, 28)
    x = pixels.astype(np.float32)[None, None]
    expected = images.reduced(x, 20)[0, 0]
    assert np.abs(images.decode(encoded(pixels), 20, 1)[..., 0] - expected).max() <= 1.0


@pytest.mark.parametrize(("height", "width"), [(40, 60), (640, 480), (20, 30)])
@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_the_centre_is_taken_where_the_net_is_evaluated_on_it(
    space: DesignSpace, height: int, width: int, format: str
) -> None:
    """White outside the centred square of three quarters of the shorter side, black inside."""
    pixels = np.full((height, width), 255, np.uint8)
    half = min(height, width) * 3 // 8
    pixels[height // 2 - half : height // 2 + half, width // 2 - half : width // 2 + half] = 0
    centred = Preprocessing(mean=(0.0,), std=(1.0,), centre_crop=0.65)
    x = images.prepare(ImageInput(encoded(pixels, format)), 16, space, centred)
    assert x.max() < 0.2
    stretched = Preprocessing(mean=(0.0,), std=(1.0,))
    whole = images.prepare(ImageInput(encoded(pixels, format)), 16, space, stretched)
    assert whole[0, 0, [0, 0, -1, -1], [0, -1, 0, -1]].min() > 0.8


def test_a_large_jpeg_is_decoded_small() -> None:
    ramp = np.tile(np.linspace(0, 255, 1024).astype(np.uint8), (1024, 1))
    decoded = images.decode(encoded(ramp, "JPEG"), 16, 1)[..., 0]
    assert np.abs(decoded - np.linspace(8, 247, 16)).max() < 6


def test_sixteen_bits_keep_their_range() -> None:
    decoded = images.decode(encoded(np.full((8, 8), 0x8080, np.uint16)), 8, 1)
    assert np.unique(decoded).tolist() == [0x80]


def test_orientation_is_applied() -> None:
    pixels = np.zeros((8, 8), np.uint8)
    pixels[0] = 255
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(pixels).save(buffer, "PNG", exif=exif)
    assert images.decode(buffer.getvalue(), 8, 1)[-1].min() == 255


def test_orientation_is_applied_to_sixteen_bits_too() -> None:
    pixels = np.zeros((8, 8), np.uint16)
    pixels[0] = 65535
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(pixels).save(buffer, "PNG", exif=exif)
    assert images.decode(buffer.getvalue(), 8, 1)[-1].min() == 255


def test_a_header_that_says_nothing_turns_nothing() -> None:
    buffer = io.BytesIO()
    Image.fromarray(noise(8, 8)).save(buffer, "JPEG", exif=b"Exif\0\0garbage!")
    assert images.decode(buffer.getvalue(), 8, 1).shape == (8, 8, 1)


def test_a_jpeg_that_scans_its_pixels_again_and_again_is_refused() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((3000, 3000), np.uint8)).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    assert images.decode(data, 16, 1).shape == (16, 16, 1)
    last = data.rindex(b"\xff\xda")
    again = data[:last] + data[last:-2] * 120 + data[-2:]
    began = time.perf_counter()
    with pytest.raises(InvalidRequest, match=r"image: expected fewer, .*scans of 3000x3000"):
        images.decode(again, 16, 1)
    assert time.perf_counter() - began < 0.2


def bomb(width: int, height: int | None = None) -> bytes:
    """A PNG that claims so many pixels, or a square of them, and holds none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height or width, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data",
    [
        b"no image at all",
        b"\x89PNG\r\n\x1a\n",
        encoded(noise(64, 64))[:-2000],
        encoded(noise(64, 64), "JPEG")[:200],
        encoded(noise(8, 8), "GIF"),
        bomb(60_000),
        bomb(8_000),
        bomb(1_000_000, 1),
        bomb(1, 1_000_000),
    ],
    ids=[
        "garbage",
        "header only",
        "half a PNG",
        "half a JPEG",
        "GIF",
        "bomb",
        "smaller bomb",
        "wide",
        "high",
    ],
)
def test_what_is_not_an_image_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"^image: expected ") as caught:
        images.decode(data, 16, 1)
    assert len(caught.value.safe_message) < 200


@given(st.binary(max_size=200), st.integers(0, 300), st.binary(max_size=8))
def test_hostile_bytes_are_refused_or_decoded(tail: bytes, cut: int, patch: bytes) -> None:
    whole = bytearray(encoded(noise(12, 12)))
    whole[cut : cut + len(patch)] = patch
    for data in (tail, bytes(whole), bytes(whole[:cut]) + tail):
        with suppress(InvalidRequest):
            assert images.decode(data, 16, 1).shape == (16, 16, 1)


def test_an_empty_image_is_refused(space: DesignSpace) -> None:
    with pytest.raises(InvalidRequest, match="image"):
        images.size_of(ImageInput(b""), space, 4)


def test_a_raw_tensor_is_taken_as_it_is(space: DesignSpace) -> None:
    x = np.random.default_rng(0).normal(size=(3, 1, 16, 16)).astype(np.float32)
    assert images.size_of(raw(x), space, 4) == images.InputSize(3, 16)
    assert (images.prepare(raw(x), 16, space, GRAY) == x).all()
    assert images.prepare(raw(x), 12, space, GRAY).shape == (3, 1, 12, 12)


@pytest.mark.parametrize(
    ("tensor", "field"),
    [
        (TensorInput("FP16", (1, 1, 16, 16), bytes(512)), "tensor.dtype"),
        (TensorInput("FP32", (1, 1, 16, 16), bytes(1023)), "tensor.raw"),
        (TensorInput("FP32", (1, 1, 16, 16), b""), "tensor.raw"),
        (TensorInput("FP32", (1, 16, 16), bytes(1024)), "tensor.shape"),
        (TensorInput("FP32", (), bytes(4)), "tensor.shape"),
        (TensorInput("FP32", (1, 3, 16, 16), bytes(3072)), "tensor.shape"),
        (TensorInput("FP32", (1, 1, 16, 12), bytes(768)), "tensor.shape"),
        (TensorInput("FP32", (1, 1, 14, 14), bytes(784)), "tensor.shape"),
        (TensorInput("FP32", (0, 1, 16, 16), b""), "tensor.shape"),
        (TensorInput("FP32", (5, 1, 16, 16), bytes(5120)), "tensor.shape"),
        (TensorInput("FP32", (-1, 1, 16, 16), bytes(1024)), "tensor.shape"),
        (TensorInput("FP32", (2**62, 1, 16, 16), bytes(1024)), "tensor.shape"),
    ],
)
def test_a_tensor_of_the_wrong_form_is_refused(
    tensor: TensorInput, field: str, space: DesignSpace
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        images.size_of(tensor, space, 4)
    assert caught.value.field == field


@given(st.lists(st.tuples(st.integers(0, 255), st.floats(width=32)), max_size=4))
def test_finite_values_are_taken_and_no_others(
    space: DesignSpace, changes: list[tuple[int, float]]
) -> None:
    x = np.zeros((1, 1, 16, 16), np.float32)
    for place, value in changes:
        x.flat[place] = value
    if np.isfinite(x).all():
        images.at(raw(x), 16, space, GRAY)
    else:
        with pytest.raises(InvalidRequest, match="finite"):
            images.at(raw(x), 16, space, GRAY)


def test_finite_values_whose_sum_is_not_are_taken(space: DesignSpace) -> None:
    images.at(raw(np.full((1, 1, 16, 16), 3e38, np.float32)), 16, space, GRAY)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_are_finite(value: float, space: DesignSpace) -> None:
    x = np.zeros((1, 1, 16, 16), np.float32)
    x[0, 0, 3, 3] = value
    with pytest.raises(InvalidRequest, match=r"tensor.raw: expected finite values \(value 51\)"):
        images.at(raw(x), 16, space, GRAY)
