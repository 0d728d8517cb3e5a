"""A whole family in TorchServe's worker: picks a subnet for each request, as the gateway does.

The selection, the device classes, the decoding and the engine are the gateway's own; what it has
beyond them, a queue by deadline and tables that follow a store, TorchServe's workers cannot have.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gateway import images
from gateway.config import DEFAULT_MAX_RESIDENT_BYTES, ServerConfig
from gateway.device_classes import DeviceClasses
from gateway.engine_opening import opened_backend, settled
from gateway.engines.backend import Array
from gateway.engines.net import Net
from gateway.engines.opening import make_engine
from gateway.errors import GatewayError, InvalidRequest
from gateway.request import ImageInput, Selection
from gateway.select import select
from gateway.services.hints import constraints_of, metadata_hints, text_hints
from gateway.torchserve.best_classes import best_classes
from supernet.architecture import Architecture
from supernet.latency import read_bundled_tables

ARTIFACT_FOLDER = "artifact"
HTTP_STATUS = {"INVALID_ARGUMENT": 400, "NOT_FOUND": 404, "FAILED_PRECONDITION": 412}
_IMAGE_KEYS = ("data", "body")  # TorchServe gives a body in either

Row = Mapping[str, Any]


class FamilyHandler:
    """Made by a worker; `initialize` is called once, `handle` with every batch of requests."""

    def initialize(self, context: Any) -> None:
        """Load the artifact from the unpacked archive. Raises `ValueError` in one line."""
        properties = context.system_properties
        folder = Path(properties["model_dir"]) / ARTIFACT_FOLDER
        net, gpu = Net(folder), properties.get("gpu_id")
        device = "cpu" if gpu is None else f"cuda:{gpu}"
        each = ServerConfig(artifact=folder, device=device, threads=1, workers=1)  # has a core
        backend = opened_backend(settled(each, net), net)
        self.manifest = net.manifest
        self._classes = DeviceClasses(net.manifest, read_bundled_tables(folder))
        self._lane = make_engine(net, backend, DEFAULT_MAX_RESIDENT_BYTES).lane()

    def logits(self, subnet: str, x: Array) -> Array:
        """Images [B, C, R, R] as the subnet takes them → logits [B, classes]."""
        return self._lane.run(Architecture.parse(subnet), x).logits

    def handle(self, rows: Sequence[Row], context: Any) -> list[str]:
        """One JSON document a request. Requests of one subnet run together; one that is wrong is
        answered with what is wrong, and the others are not touched."""
        answers = [""] * len(rows)
        chosen: dict[Selection, list[tuple[int, images.Values]]] = {}
        for place, row in enumerate(rows):
            try:
                selection, x = self._prepared(row, context.get_all_request_header(place))
                chosen.setdefault(selection, []).append((place, x))
            except GatewayError as error:
                answers[place] = _refusal(error, place, len(rows), context)
        for selection, inputs in chosen.items():
            logits = self.logits(selection.subnet, np.concatenate([x for _, x in inputs]))
            for (place, _), row_logits in zip(inputs, logits, strict=True):
                answers[place] = json.dumps(self._answer(selection, row_logits))
        for place in range(len(rows)):
            context.set_response_content_type(place, "application/json")
        return answers

    def _prepared(self, row: Row, headers: Mapping[str, Any]) -> tuple[Selection, images.Values]:
        """What answers a request, and its image [1, C, R, R] for that. Raises `GatewayError`."""
        given = _fields(row)
        hints = metadata_hints(_text_headers(headers)) | text_hints(given)
        constraints = constraints_of(hints, self._classes.fallback)
        image, space = ImageInput(_image(given)), self.manifest.design_space
        images.size_of(image, space, max_batch=1)
        selection = select(self._classes.candidates(constraints.device_class), constraints)
        resolution = Architecture.parse(selection.subnet).resolution
        return selection, images.prepare(image, resolution, space, self.manifest.preprocessing)

    def _answer(self, selection: Selection, logits: Array) -> dict[str, object]:
        return {
            "subnet": selection.subnet,
            "expected_accuracy": selection.accuracy,
            "predicted_latency_ms": selection.latency_ms,
            "probabilities": best_classes(logits, self.manifest.labels),
        }


def _fields(row: Row) -> dict[str, str | bytes]:
    """A request's fields: of a form, of gRPC's input map, or of a body that is a JSON object."""
    body = next((row[key] for key in _IMAGE_KEYS if isinstance(row.get(key), Mapping)), row)
    return {
        key: bytes(value) if isinstance(value, bytes | bytearray) else str(value)
        for key, value in body.items()
        if value is not None
    }


def _text_headers(headers: Mapping[str, Any]) -> list[tuple[str, str | bytes]]:
    """Headers with the names that hints have; TorchServe keeps other things among them."""
    return [(name.lower(), text) for name, text in headers.items() if isinstance(text, str)]


def _image(given: Mapping[str, str | bytes]) -> bytes:
    """The encoded image: bytes, or base64 in JSON. Raises `InvalidRequest`."""
    data = next((given[key] for key in _IMAGE_KEYS if key in given), None)
    if data is None:
        raise InvalidRequest("input", sorted(given), "one encoded image under 'data'")
    if isinstance(data, bytes):
        return data
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("data", data, "an image's bytes, or their base64 in JSON") from None


def _refusal(error: GatewayError, place: int, batch: int, context: Any) -> str:
    """The status of the request at `place`, and the document it is answered with. Over gRPC
    TorchServe tells a status of whole batches only, by an exception."""
    status = HTTP_STATUS.get(error.code, 500)
    if batch == 1:
        from ts.utils.util import PredictionException

        raise PredictionException(error.safe_message, status)
    context.set_response_status(status, error.code, place)
    told = {"code": status, "type": type(error).__name__, "message": error.safe_message}
    return json.dumps(told)
