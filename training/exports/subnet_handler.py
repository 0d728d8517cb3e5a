"""TorchServe's handler of one subnet: encoded images in, the best classes' probabilities out.

Travels in the archive beside the program, and runs in TorchServe's worker with torch, numpy and
Pillow alone: imports nothing of this project. What it answers and refuses is what the gateway's
own TorchServe API does.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

PROGRAM_FILE = "subnet.pt2"
METADATA_FILE = "metadata.json"
FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 50_000_000  # an image that decodes to more is refused before it is decoded
BEST = 5  # classes in an answer
_KEYS = ("data", "body")  # TorchServe gives the image in either


class SubnetHandler:  # the only class here: TorchServe looks for one
    """Made by a worker; `initialize` is called once, `handle` with every batch of requests."""

    def initialize(self, context: Any) -> None:
        """Load the program from the unpacked archive, onto the GPU that the worker is given."""
        folder = Path(context.system_properties["model_dir"])
        gpu = context.system_properties.get("gpu_id")
        on_gpu = gpu is not None and torch.cuda.is_available()
        self.device = torch.device(f"cuda:{gpu}" if on_gpu else "cpu")
        self.metadata = json.loads((folder / METADATA_FILE).read_text("utf-8"))
        self.program = torch.export.load(folder / PROGRAM_FILE).module().to(self.device)

    def logits(self, images: Tensor) -> Tensor:
        """Images [B, C, R, R] as the net takes them → logits [B, classes]."""
        with torch.inference_mode():
            logits: Tensor = self.program(images.to(self.device)).cpu()
        return logits

    def handle(self, rows: Sequence[Mapping[str, Any]], context: Any) -> list[str]:
        """One JSON document a request, all images in one forward. A request that is wrong is
        answered with what is wrong, and the others are not touched."""
        answers, images = [""] * len(rows), {}
        for place, row in enumerate(rows):
            try:
                images[place] = _prepared(_image(row), self.metadata["preprocessing"])
            except ValueError as error:
                answers[place] = _refusal(str(error), place, len(rows), context)
        if images:
            logits = self.logits(torch.from_numpy(np.stack(list(images.values()))))
            for place, row_logits in zip(images, logits, strict=True):
                answers[place] = json.dumps(_best(row_logits, self.metadata["labels"]))
        for place in range(len(rows)):
            context.set_response_content_type(place, "application/json")
        return answers


def _refusal(message: str, place: int, batch: int, context: Any) -> str:
    """Status 400 for the request at `place`, and the document it is answered with. Over gRPC
    TorchServe tells a status of whole batches only, by an exception."""
    if batch == 1:
        from ts.utils.util import PredictionException

        raise PredictionException(message, 400)
    context.set_response_status(400, "Bad Request", place)
    return json.dumps({"code": 400, "type": "InvalidRequest", "message": message})


def _image(row: Mapping[str, Any]) -> bytes:
    """The encoded image of a request: bytes, or base64 in JSON. Raises `ValueError`."""
    given = _first(row)
    if isinstance(given, Mapping):  # a JSON body
        given = _first(given)
    if isinstance(given, str):
        try:
            given = base64.b64decode(given, validate=True)
        except ValueError:  # letters beyond ASCII, and what base64 does not have
            given = None
    if not isinstance(given, bytes | bytearray) or not given:
        raise ValueError("input: expected one encoded image under 'data', in JSON as base64")
    return bytes(given)


def _first(row: Mapping[str, Any]) -> Any:
    return next((row[key] for key in _KEYS if key in row), None)


def _prepared(data: bytes, preprocessing: Mapping[str, Any]) -> NDArray[np.float32]:
    """Model input [C, R, R] of one encoded image. Raises `ValueError`."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height <= MAX_PIXELS:
                pixels = _pixels(image, preprocessing)
            else:
                pixels = None
    except Exception:  # whatever a decoder does with hostile bytes is the caller's mistake
        raise ValueError(f"image: expected one whole image: {', '.join(FORMATS)}") from None
    if pixels is None:
        raise ValueError(f"image: expected at most {MAX_PIXELS} pixels")
    mean, std = (np.array(preprocessing[key], np.float32) * 255 for key in ("mean", "std"))
    return np.ascontiguousarray(((pixels.astype(np.float32) - mean) / std).transpose(2, 0, 1))


def _pixels(image: Image.Image, preprocessing: Mapping[str, Any]) -> NDArray[np.uint8]:
    """[R, R, C] of the part that is taken, upright, resized bilinearly and antialiased."""
    size, mode = preprocessing["resolution"], "L" if len(preprocessing["mean"]) == 1 else "RGB"
    width, height = image.size
    left, top, right, bottom = _box(width, height, preprocessing.get("centre_crop"))
    least = (2 * size * width / (right - left), 2 * size * height / (bottom - top))
    image.draft(mode, (math.ceil(least[0]), math.ceil(least[1])))  # JPEG decodes at a fraction
    across, down = image.width / width, image.height / height
    whole = Image.fromarray(_eight_bit(image)) if image.mode.startswith("I") else image
    part = (
        left * across,
        top * down,
        min(right * across, image.width),  # rounding must not lead outside the image
        min(bottom * down, image.height),
    )
    small = whole.convert(mode).resize((size, size), Image.Resampling.BILINEAR, part)
    return np.asarray(ImageOps.exif_transpose(small)).reshape(size, size, -1)


def _box(width: int, height: int, crop: float | None) -> tuple[float, float, float, float]:
    """Left, top, right, bottom: a centred square of the shorter side, or the whole image."""
    if crop is None:
        return 0.0, 0.0, float(width), float(height)
    side = crop * min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _eight_bit(image: Image.Image) -> NDArray[np.uint8]:
    """A 16-bit grayscale image at 8 bits; Pillow's own conversion would clip it."""
    return (np.asarray(image).clip(0, 65535) // 257).astype(np.uint8)


def _best(logits: Tensor, labels: Sequence[str]) -> dict[str, float]:
    """Probabilities of the best classes, the best first."""
    shares, places = logits.double().softmax(0).sort(descending=True, stable=True)
    return {labels[i]: float(share) for share, i in zip(shares[:BEST], places[:BEST], strict=True)}
