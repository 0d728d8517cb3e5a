"""Clients of TorchServe's inference API."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from google.protobuf import empty_pb2
from grpc import StatusCode
from PIL import Image

from protos.torchserve import inference_pb2 as pb
from protos.torchserve.inference_pb2_grpc import InferenceAPIsServiceStub
from supernet.manifest import read_manifest

if TYPE_CHECKING:
    from tests.services.conftest import Client


@pytest.fixture(scope="module")
def image() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def stub(client: Client) -> InferenceAPIsServiceStub:
    return InferenceAPIsServiceStub(client.channel)


@pytest.fixture(scope="module")
def name(artifact_folder: Path) -> str:
    return read_manifest(artifact_folder).name


def error(stub: InferenceAPIsServiceStub, asked: pb.PredictionsRequest) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predictions(asked, timeout=30)
    return caught.value


def test_the_server_is_healthy(stub: InferenceAPIsServiceStub) -> None:
    assert json.loads(stub.Ping(empty_pb2.Empty()).health) == {"status": "Healthy"}


@pytest.mark.parametrize("key", ["data", "body"])
def test_the_best_classes_come_with_their_probabilities(
    stub: InferenceAPIsServiceStub, client: Client, image: bytes, name: str, key: str
) -> None:
    given = {key: image, "device_class": b"alpha", "latency_budget_ms": b"1000"}
    response = stub.Predictions(pb.PredictionsRequest(model_name=name, input=given), timeout=30)
    best: dict[str, float] = json.loads(response.prediction)
    assert len(best) == 5
    assert sorted(best.values(), reverse=True) == list(best.values())
    assert 0 < sum(best.values()) <= 1
    native = client.infer(image=image, latency_budget_ms=1000.0)
    assert next(iter(best)) == native.predictions[0].label


def test_metadata_gives_the_device_class(
    stub: InferenceAPIsServiceStub, image: bytes, name: str
) -> None:
    asked = pb.PredictionsRequest(model_name=name, model_version="1.0", input={"data": image})
    assert error(stub, asked).details().startswith("device_class: ")
    metadata = (("x-device-class", "alpha"),)
    assert stub.Predictions(asked, timeout=30, metadata=metadata).prediction
    (only,) = stub.StreamPredictions(asked, timeout=30, metadata=metadata)
    assert len(json.loads(only.prediction)) == 5


@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        ({"data": b"", "device_class": b"alpha"}, StatusCode.INVALID_ARGUMENT, "image: "),
        ({"data": b"no image", "device_class": b"alpha"}, StatusCode.INVALID_ARGUMENT, "image: "),
        ({"device_class": b"alpha"}, StatusCode.INVALID_ARGUMENT, "input: "),
        ({"data": b"", "device_class": b"\xff"}, StatusCode.INVALID_ARGUMENT, "device_class: "),
        ({"data": b"", "device_class": b"gamma"}, StatusCode.INVALID_ARGUMENT, "image: "),
    ],
)
def test_what_is_wrong_is_named(
    stub: InferenceAPIsServiceStub,
    name: str,
    given: dict[str, bytes],
    code: StatusCode,
    says: str,
) -> None:
    failed = error(stub, pb.PredictionsRequest(model_name=name, input=given))
    assert failed.code() == code
    assert failed.details().startswith(says)


def test_another_model_is_not_served(
    stub: InferenceAPIsServiceStub, image: bytes, name: str
) -> None:
    given = {"data": image, "device_class": b"alpha"}
    for model, version in (("densenet161", ""), (name, "2")):
        asked = pb.PredictionsRequest(model_name=model, model_version=version, input=given)
        failed = error(stub, asked)
        assert failed.code() == StatusCode.NOT_FOUND
        assert failed.details().startswith(f"model: {model!r}")


def test_a_stream_answers_each_request_with_its_sequence(
    stub: InferenceAPIsServiceStub, image: bytes, name: str
) -> None:
    def requests() -> Iterator[pb.PredictionsRequest]:
        for number in range(6):
            device_class = b"gamma" if number == 2 else b"alpha"
            given = {"data": image, "device_class": device_class}
            yield pb.PredictionsRequest(model_name=name, input=given, sequenceId=str(number))

    responses = list(stub.StreamPredictions2(requests(), timeout=30))
    assert [r.sequenceId for r in responses] == [str(n) for n in range(6)]
    assert [r.status.code for r in responses if r.HasField("status")] == [5]
