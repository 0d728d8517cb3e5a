"""Image files of every kind become pixels, and what is no image says so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.images.image_file import Box, UnreadableImageError, read_image


def _whole(width: int, height: int) -> Box:
    return 0.0, 0.0, width, height


@pytest.fixture
def picture() -> Image.Image:
    """64x48: red at the left, blue at the right, the upper half darker."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:, :32, 0] = 200
    pixels[:, 32:, 2] = 200
    pixels[:24] //= 2
    return Image.fromarray(pixels)


def _corners(image: Image.Image) -> list[tuple[int, ...]]:
    """Upper left, upper right, lower left, lower right."""
    last = image.width - 2
    pixels = np.asarray(image.convert("RGB")).astype(int)
    return [tuple(pixels[y, x].tolist()) for y in (1, last) for x in (1, last)]


def _assert_near(found: Sequence[tuple[int, ...]], expected: Sequence[tuple[int, ...]]) -> None:
    assert np.abs(np.array(found) - np.array(expected)).max() <= 12, found


UPRIGHT = [(100, 0, 0), (0, 0, 100), (200, 0, 0), (0, 0, 200)]


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.bmp", "a.tiff", "a.ppm", "odd"])
def test_formats_are_known_by_content(picture: Image.Image, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    picture.save(path, "PNG" if name == "odd" else None, quality=95)
    _assert_near(_corners(read_image(path, 3, 16, _whole)), UPRIGHT)


@pytest.mark.parametrize("mode", ["P", "RGBA", "CMYK", "YCbCr"])
def test_colour_modes_become_rgb(picture: Image.Image, tmp_path: Path, mode: str) -> None:
    path = tmp_path / f"a.{'tiff' if mode in ('CMYK', 'YCbCr') else 'png'}"
    picture.convert(mode).save(path)
    _assert_near(_corners(read_image(path, 3, 16, _whole)), UPRIGHT)


def test_a_palette_with_transparent_colours_is_read(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 250, 10, 20])
    image.save(tmp_path / "a.png", transparency=b"\x00\x80")
    assert _corners(read_image(tmp_path / "a.png", 3, 8, _whole))[0] == (250, 10, 20)


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_16_bit_fit_either_net(tmp_path: Path, channels: int) -> None:
    Image.new("L", (8, 8), 90).save(tmp_path / "8.png")
    Image.fromarray(np.full((8, 8), 90 * 257, np.uint16)).save(tmp_path / "16.png")
    Image.new("1", (8, 8), 1).save(tmp_path / "1.png")
    Image.new("LA", (8, 8), (90, 10)).save(tmp_path / "alpha.png")
    for name, expected in (("8", 90), ("16", 90), ("1", 255), ("alpha", 90)):
        image = read_image(tmp_path / f"{name}.png", channels, 4, _whole)
        assert image.mode == ("L" if channels == 1 else "RGB")
        assert set(np.asarray(image).flatten().tolist()) == {expected}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_photographs_stand_upright(
    picture: Image.Image, tmp_path: Path, orientation: int
) -> None:
    how = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = picture.transpose(how[orientation]) if orientation in how else picture
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.jpg", exif=exif, quality=95)
    seen = []

    def lower_half(width: int, height: int) -> Box:
        seen.append((width, height))
        return 0.0, height / 2, width, height

    image = read_image(tmp_path / "a.jpg", 3, 12, lower_half)
    assert seen == [(64, 48)], "the part is chosen of the upright image"
    _assert_near(_corners(image), [UPRIGHT[2], UPRIGHT[3]] * 2)


def test_a_large_jpeg_is_decoded_small_with_the_same_result(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 1024).astype(np.uint8)
    grey = np.broadcast_to(ramp[None, :, None], (768, 1024, 3))
    Image.fromarray(np.ascontiguousarray(grey)).save(tmp_path / "a.jpg", quality=95)
    Image.fromarray(np.ascontiguousarray(grey)).save(tmp_path / "a.png")

    def part(width: int, height: int) -> Box:
        return width * 0.3, height * 0.1, width * 0.9, height * 0.7

    small, exact = (read_image(tmp_path / f"a.{end}", 3, 32, part) for end in ("jpg", "png"))
    difference = np.asarray(small).astype(int) - np.asarray(exact).astype(int)
    assert np.abs(difference).max() <= 4


def test_what_is_no_whole_image_says_why(tmp_path: Path) -> None:
    big = Image.effect_noise((200, 200), 90)
    for name in ("cut.jpg", "cut.png"):
        big.save(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("no image at all")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tiff")
    for name, reason in (
        ("cut.jpg", "truncated"),
        ("cut.png", "truncated"),
        ("text.jpg", "not an image"),
        ("empty.jpg", "not an image"),
        ("broken", "No such file"),
        ("float.tiff", "floating-point"),
        (".", "Is a directory"),
    ):
        with pytest.raises(UnreadableImageError, match=reason):
            read_image(tmp_path / name, 3, 16, _whole)
