"""Exported archives in a real TorchServe: registered, and asked over HTTP and gRPC."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch

import compofa
from gateway.images import decode, normalised
from gateway.torchserve.best_classes import best_classes
from supernet import artifact, shipped
from supernet.architecture import Architecture
from supernet.artifact import Artifact
from tests.services.torchserve_process import TorchServe, running, skip_unless_installed

SUBNET, SINGLE, FAMILY = "d2-3-4-2-3@24", "single", "family"
ON_CPU = {"device_class": b"reference-cpu"}

pytestmark = pytest.mark.timeout(600)  # of the first, for which all is exported and started


@pytest.fixture(scope="module")
def fashion() -> Artifact:
    return artifact.load(shipped.artifact_folder())


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One subnet, and all of them, exported by the command."""
    skip_unless_installed()
    folder = tmp_path_factory.mktemp("archives")
    files = {SINGLE: folder / "single.mar", FAMILY: folder / "family.mar"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPOFA_STATE_DIR", str(folder / "state"))
        for name, subnet in ((SINGLE, SUBNET), (FAMILY, "all")):
            options = ["--subnet", subnet, "--format", "torchserve", "--out", str(files[name])]
            assert compofa.main(["export", str(shipped.artifact_folder()), *options]) == 0
    return files


@pytest.fixture(scope="module")
def server(
    archives: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TorchServe]:
    """Both archives registered, the family for batches of up to four."""
    with running(tmp_path_factory.mktemp("torchserve")) as started:
        said = started.register(archives[SINGLE], model_name=SINGLE)
        assert 'Model \\"single\\" Version: 1.0 registered with 1 initial workers' in said
        batches = {"batch_size": "4", "max_batch_delay": "300"}
        started.register(archives[FAMILY], model_name=FAMILY, **batches)
        yield started


@pytest.fixture(scope="module")
def png() -> bytes:
    return shipped.images()[0][0].read_bytes()


def expected(net: Artifact, subnet: str, png: bytes) -> dict[str, float]:
    """The best classes' probabilities by the supernet itself."""
    arch = Architecture.parse(subnet)
    x = normalised(decode(png, arch.resolution, 1), net.manifest.of_images)
    logits = net.supernet(torch.from_numpy(x[None]), arch)[0].numpy()
    return best_classes(logits, net.manifest.labels)


def test_one_subnet_answers_over_http_and_grpc(
    server: TorchServe, fashion: Artifact, png: bytes
) -> None:
    document = json.dumps({"data": base64.b64encode(png).decode()}).encode()
    answers = [
        server.predict(SINGLE, png),
        server.predict(SINGLE, png, {"content-type": "image/png"}),
        server.predict(SINGLE, document, {"content-type": "application/json"}),
        (200, server.predict_by_grpc(SINGLE, data=png)),
    ]
    best = expected(fashion, SUBNET, png)
    for status, answer in answers:
        assert status == 200
        assert list(answer) == list(best)
        assert answer == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize("given", [{"data": b"no image"}, {"data": b""}, {}])
def test_one_subnet_refuses_what_is_no_image(server: TorchServe, given: dict[str, bytes]) -> None:
    status, said = server.predict(SINGLE, given.get("data", b""))
    assert (status, said["code"]) == (400, 400)
    assert said["message"].startswith(("image: expected", "input: expected"))
    with pytest.raises(grpc.RpcError) as caught:
        server.predict_by_grpc(SINGLE, **given)
    failed: Any = caught.value
    assert failed.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert failed.details().startswith(said["message"])


def test_each_request_gets_the_subnet_it_asks_for(
    server: TorchServe, fashion: Artifact, png: bytes
) -> None:
    """At once, so that TorchServe makes batches of them; one among them is wrong."""
    budgets = (1.5, 1.8, 2.2, 4.0)

    def ask(budget: float) -> Any:
        headers = {"x-device-class": "reference-cpu", "X-Latency-Budget-Ms": str(budget)}
        return server.predict(FAMILY, png, headers)

    with ThreadPoolExecutor(5) as threads:
        wrong = threads.submit(server.predict, FAMILY, b"no image", {"x-device-class": "nowhere"})
        answers = list(threads.map(ask, budgets))
    assert wrong.result()[0] == 404
    assert "there are reference-cpu, " in wrong.result()[1]["message"]
    accuracies = [answer["expected_accuracy"] for _, answer in answers]
    assert accuracies == sorted(accuracies)
    assert len(set(accuracies)) == len(budgets)
    for budget, (status, answer) in zip(budgets, answers, strict=True):
        assert status == 200
        assert answer["predicted_latency_ms"] <= budget
        entry = fashion.manifest.catalog[answer["subnet"]]
        assert answer["expected_accuracy"] == entry.accuracy
        best = expected(fashion, answer["subnet"], png)
        assert answer["probabilities"] == pytest.approx(best, abs=1e-4)


def test_the_family_takes_its_hint_from_grpcs_input_map(server: TorchServe, png: bytes) -> None:
    answer = server.predict_by_grpc(FAMILY, data=png, **ON_CPU, min_accuracy=b"0.94")
    assert answer["expected_accuracy"] >= 0.94
    slower = {"device_class": b"simulated-4x-slower", "latency_budget_ms": b"8"}
    assert server.predict_by_grpc(FAMILY, data=png, **slower)["predicted_latency_ms"] <= 8


@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        (ON_CPU, grpc.StatusCode.INVALID_ARGUMENT, "input: expected one encoded image"),
        ({"data": b"no image", **ON_CPU}, grpc.StatusCode.INVALID_ARGUMENT, "image: expected"),
        ({"data": b"", "device_class": b"?"}, grpc.StatusCode.INVALID_ARGUMENT, "image: expected"),
        ({"data": b"x", "device_class": b"nowhere"}, grpc.StatusCode.NOT_FOUND, "device_class: "),
        (
            {"data": b"x", "latency_budget_ms": b"1e-9", **ON_CPU},
            grpc.StatusCode.FAILED_PRECONDITION,
            "no subnet takes at most",
        ),
    ],
)
def test_the_family_refuses_as_the_gateway_does(
    server: TorchServe, given: dict[str, bytes], code: grpc.StatusCode, says: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        server.predict_by_grpc(FAMILY, **given)
    failed: Any = caught.value
    assert failed.code() == code
    assert failed.details().startswith(says)


def test_a_form_may_carry_the_hint(server: TorchServe, png: bytes) -> None:
    parts = {"device_class": b"reference-cpu", "latency_budget_ms": b"2", "data": png}
    body = b"".join(
        b'--edge\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
        % (name.encode(), b'; filename="image"' if name == "data" else b"", value)
        for name, value in parts.items()
    )
    headers = {"content-type": "multipart/form-data; boundary=edge"}
    status, answer = server.predict(FAMILY, body + b"--edge--\r\n", headers)
    assert status == 200
    assert answer["predicted_latency_ms"] <= 2
    assert np.isclose(sum(answer["probabilities"].values()), 1, atol=0.5)
