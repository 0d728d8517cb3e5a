"""The family's handler, called as TorchServe's worker calls it."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gateway.device_classes import DeviceClasses
from gateway.images import decode, normalised
from gateway.request import Constraints
from gateway.select import select
from gateway.torchserve import entry as torchserve_entry
from gateway.torchserve.archive import HANDLER, family_files
from gateway.torchserve.family import FamilyHandler
from supernet import artifact
from supernet.architecture import Architecture
from supernet.latency import read_bundled_tables
from supernet.manifest import read_manifest

Said = dict[str, Any]


class Context:
    """As much of TorchServe's as the handler uses, for a batch of requests."""

    def __init__(self, headers: list[dict[str, Any]]) -> None:
        self.headers, self.statuses = headers, dict[int, int]()

    def get_all_request_header(self, idx: int) -> dict[str, Any]:
        return self.headers[idx]

    def set_response_status(self, code: int, _phrase: str, idx: int) -> None:
        self.statuses[idx] = code

    def set_response_content_type(self, _idx: int, value: str) -> None:
        assert value == "application/json"


@pytest.fixture(scope="module")
def png() -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16), np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def handler(artifact_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> FamilyHandler:
    """From the files of an archive, unpacked."""
    folder = tmp_path_factory.mktemp("model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPOFA_STATE_DIR", str(folder / "state"))
        _, files = family_files(artifact_folder)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    made = FamilyHandler()
    properties = {"model_dir": str(folder), "gpu_id": None}
    made.initialize(SimpleNamespace(system_properties=properties))
    return made


def asked(handler: FamilyHandler, *rows: Said, headers: Said | None = None) -> list[Said]:
    """The answers to a batch, each with its status, which is not 400 only by being among others."""
    batch = [*rows, {}]  # so that no request is alone
    context = Context([headers or {}] * len(batch))
    answers = list(map(json.loads, handler.handle(batch, context)))
    assert context.statuses.pop(len(rows)) == 400
    return [{**each, "status": context.statuses.get(i, 200)} for i, each in enumerate(answers[:-1])]


def test_the_gateways_selection_answers(
    handler: FamilyHandler, artifact_folder: Path, png: bytes
) -> None:
    manifest = read_manifest(artifact_folder)
    tables = read_bundled_tables(artifact_folder)
    candidates = DeviceClasses(manifest, tables).candidates("alpha")
    supernet = artifact.load(artifact_folder).supernet
    budgets = sorted(tables[0].latency_ms.values())[::3]
    rows = [{"data": png, "device_class": "alpha", "latency_budget_ms": str(b)} for b in budgets]
    answers = asked(handler, *rows)
    assert len({answer["subnet"] for answer in answers}) > 2
    for budget, answer in zip(budgets, answers, strict=True):
        expected = select(candidates, Constraints("alpha", latency_budget_ms=budget))
        assert answer["status"] == 200
        assert answer["subnet"] == expected.subnet
        assert answer["expected_accuracy"] == expected.accuracy
        assert answer["predicted_latency_ms"] == expected.latency_ms
        arch = Architecture.parse(expected.subnet)
        x = normalised(decode(png, arch.resolution, 1), manifest.of_images)
        shares = supernet(torch.from_numpy(x[None]), arch)[0].softmax(0)
        best = {manifest.labels[i]: float(shares[i]) for i in shares.argsort(descending=True)[:5]}
        assert answer["probabilities"] == pytest.approx(best, abs=1e-5)


def test_a_hint_may_stand_in_a_field_a_document_or_a_header(
    handler: FamilyHandler, png: bytes
) -> None:
    fields = {"device_class": b"beta", "min_accuracy": b"0.6"}
    document = {"data": base64.b64encode(png).decode(), "device_class": "beta", "min_accuracy": 0.6}
    headers = {"X-Device-Class": "beta", "x-min-accuracy": "0.6", "body": {"content-type": ""}}
    (by_field,) = asked(handler, {"data": bytearray(png), **fields})
    (by_document,) = asked(handler, {"body": document})
    (by_header,) = asked(handler, {"body": bytearray(png)}, headers=headers)
    assert by_field == by_document == by_header
    assert by_field["expected_accuracy"] >= 0.6


def test_a_field_goes_before_a_header(handler: FamilyHandler, png: bytes) -> None:
    row = {"data": png, "device_class": b"alpha"}
    (answer,) = asked(handler, row, headers={"x-device-class": "nowhere"})
    assert answer["status"] == 200


@pytest.mark.parametrize(
    ("given", "status", "says"),
    [
        ({"device_class": "gamma"}, 404, "device_class: 'gamma' is not known; there are alpha"),
        ({}, 400, "device_class: expected the name of a device class"),
        ({"device_class": "alpha", "latency_budget_ms": "x"}, 400, "latency_budget_ms: expected"),
        ({"device_class": "alpha", "latency_budget_ms": [1]}, 400, "latency_budget_ms: expected"),
        ({"device_class": "alpha", "min_accuracy": 2}, 400, "min_accuracy: expected a number from"),
        ({"device_class": "alpha", "latency_budget_ms": 1e-9}, 412, "no subnet takes at most"),
        ({"device_class": "alpha", "data": b""}, 400, "image: expected the bytes"),
        ({"device_class": "alpha", "data": b"no image"}, 400, "image: expected one whole image"),
        ({"device_class": "alpha", "data": "\N{SNOWMAN}"}, 400, "data: expected an image's bytes"),
        ({"device_class": "alpha", "data": None}, 400, "input: expected one encoded image"),
    ],
)
def test_a_wrong_request_is_named_and_alone(
    handler: FamilyHandler, png: bytes, given: Said, status: int, says: str
) -> None:
    right = {"data": png, "device_class": "beta"}
    before, answer, after = asked(handler, right, {"data": png, **given}, right)
    assert before == after
    assert before["status"] == 200
    assert (answer["status"], answer["code"]) == (status, status)
    assert answer["message"].startswith(says)


def test_without_compofa_the_entry_says_so_in_one_line(tmp_path: Path) -> None:
    entry = tmp_path / HANDLER
    entry.write_bytes(Path(torchserve_entry.__file__).read_bytes())
    command = [sys.executable, "-I", "-S", str(entry)]  # no installed packages at all
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("RuntimeError: this archive needs compofa in the Python that TorchServe")
