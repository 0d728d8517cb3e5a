"""The handler that travels in an archive: alone, and the same images as the gateway takes."""

from __future__ import annotations

import ast
import base64
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gateway.images import decode, normalised
from supernet.artifact import Artifact
from supernet.manifest import Preprocessing
from tests.training.exports.conftest import SMALLEST, Exported
from training.exports import subnet_handler
from training.exports.mar import unpacked
from training.exports.subnet_handler import _prepared


class Context:
    """As much of TorchServe's as handlers use, for a batch of requests."""

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}

    def set_response_status(self, code: int, _phrase: str, idx: int) -> None:
        self.statuses[idx] = code

    def set_response_content_type(self, _idx: int, value: str) -> None:
        assert value == "application/json"


@pytest.fixture
def handler(exported: Exported) -> Iterator[Any]:
    with unpacked(exported("torchserve")) as made:
        yield made


def test_it_imports_nothing_of_ours() -> None:
    tree = ast.parse(Path(subnet_handler.__file__).read_text())
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
        )
    }
    allowed = sys.stdlib_module_names | {"numpy", "torch", "PIL", "ts"}
    assert imported <= allowed


@pytest.mark.parametrize("crop", [None, 0.875])
@pytest.mark.parametrize(
    ("mode", "size", "form"),
    [
        ("L", (28, 28), "PNG"),
        ("RGB", (50, 40), "PNG"),
        ("RGB", (900, 700), "JPEG"),
        ("RGBA", (31, 57), "WEBP"),
        ("P", (64, 64), "PNG"),
        ("I;16", (40, 40), "PNG"),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_images_become_what_the_gateway_makes_of_them(
    crop: float | None, mode: str, size: tuple[int, int], form: str, channels: int
) -> None:
    data = encoded(mode, size, form)
    preprocessing = Preprocessing(
        mean=(0.4, 0.5, 0.6)[:channels], std=(0.2, 0.3, 0.4)[:channels], centre_crop=crop
    )
    described = {**preprocessing.model_dump(exclude_none=True), "resolution": 24}
    expected = normalised(decode(data, 24, channels, preprocessing.box), preprocessing)
    found = _prepared(data, described)
    assert found.dtype == np.float32
    assert np.array_equal(found, expected)


def test_requests_of_a_batch_are_answered_each_by_itself(tiny: Artifact, handler: Any) -> None:
    png, context = encoded("L", (12, 12), "PNG"), Context()
    rows = [
        {"data": bytearray(png)},
        {"body": bytearray(b"no image")},
        {"body": {"data": base64.b64encode(png).decode()}},
        {"body": {"data": "no base64 \N{SNOWMAN}"}},
        {"body": {"data": {"data": {}}}},
        {"body": [1, 2]},
        {},
        {"body": bytearray(png)},
    ]
    answers = list(map(json.loads, handler.handle(rows, context)))
    assert context.statuses == dict.fromkeys((1, 3, 4, 5, 6), 400)
    assert answers[0] == answers[2] == answers[7]
    pixels = decode(png, 12, 1)
    x = torch.from_numpy(normalised(pixels, tiny.manifest.of_images)[None])
    shares = tiny.supernet(x, SMALLEST)[0].softmax(0)
    labels = tiny.manifest.labels
    best = {labels[i]: float(shares[i]) for i in shares.argsort(descending=True)[:5]}
    assert list(answers[0]) == list(best)
    assert answers[0] == pytest.approx(best, abs=1e-5)
    assert answers[1]["message"].startswith("image: ")
    assert answers[6] == {
        "code": 400,
        "type": "InvalidRequest",
        "message": "input: expected one encoded image under 'data', in JSON as base64",
    }


def test_an_image_that_decodes_to_too_much_is_refused(
    handler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(type(handler).handle.__globals__, "MAX_PIXELS", 100)
    rows = [{"data": encoded("L", (12, 12), "PNG")}] * 2
    answers = handler.handle(rows, Context())
    assert all("at most 100 pixels" in json.loads(answer)["message"] for answer in answers)


def encoded(mode: str, size: tuple[int, int], form: str) -> bytes:
    rng, file = np.random.default_rng(0), io.BytesIO()
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, size[::-1], np.uint16))
    elif mode == "P":
        image = Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), np.uint8)).quantize(16)
    else:
        bands = Image.getmodebands(mode)
        shape = size[::-1] if bands == 1 else (*size[::-1], bands)
        image = Image.fromarray(rng.integers(0, 256, shape, np.uint8), mode)
    image.save(file, form)
    return file.getvalue()
