"""One image file to pixels: decoded no larger than needed, turned upright, cropped, resized."""

from __future__ import annotations

import errno
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
_ORIENTATION = 0x0112  # the tag of EXIF that says how the camera was held
_SIDEWAYS = (5, 6, 7, 8)
_THE_FILES_FAULT = (errno.ENOENT, errno.EACCES, errno.ELOOP, errno.EISDIR, errno.ENXIO)

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels."""
ChooseBox = Callable[[int, int], Box]
"""The part of an image to take, from its width and height."""


class UnreadableImageError(ValueError):
    """A file that does not hold one whole image of a known format; the message says why."""


def read_image(path: Path | str, channels: int, resolution: int, choose: ChooseBox) -> Image.Image:
    """The chosen part of an image as `resolution` x `resolution`, in grey (1 channel) or RGB (3).

    Resizing is bilinear and antialiased; alpha is dropped; of several frames the first is taken.
    A JPEG is decoded at a fraction where the part is still at least `resolution` in size. Raises
    `UnreadableImageError`, and `OSError` where the disk or the system is at fault.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            return _part(image, "L" if channels == 1 else "RGB", resolution, choose)
    except UnreadableImageError:
        raise
    except UnidentifiedImageError:
        raise UnreadableImageError(f"not an image ({', '.join(FORMATS)})") from None
    except OSError as error:
        if error.errno is not None and error.errno not in _THE_FILES_FAULT:
            raise
        raise UnreadableImageError(error.strerror or str(error)) from None
    except MemoryError:
        raise
    except Exception as error:  # decoders raise many kinds for bytes they do not understand
        raise UnreadableImageError(f"{type(error).__name__}: {error}") from None


def _part(image: Image.Image, mode: str, resolution: int, choose: ChooseBox) -> Image.Image:
    width, height = image.size
    if image.getexif().get(_ORIENTATION) in _SIDEWAYS:
        width, height = height, width
    box = choose(width, height)
    reduction = max(1.0, min(box[2] - box[0], box[3] - box[1]) / resolution)
    image.draft(mode, tuple(math.ceil(side / reduction) for side in image.size))  # type: ignore[arg-type]
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    across, down = image.width / width, image.height / height
    scaled = (
        box[0] * across,
        box[1] * down,
        min(box[2] * across, image.width),  # rounding must not lead outside the image
        min(box[3] * down, image.height),
    )
    plain = _plain(image, mode)
    return plain.resize((resolution, resolution), Image.Resampling.BILINEAR, scaled)


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """The image in grey or RGB, whatever its own mode."""
    if image.mode == "F":
        raise UnreadableImageError("floating-point pixels, whose range is not known")
    if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion would clip them
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image if image.mode == mode else image.convert(mode)
