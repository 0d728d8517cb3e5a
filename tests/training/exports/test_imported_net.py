"""Weights that others have trained leave as they came: exports of an imported net, compared with a
plain forward that is written from the public checkpoint's keys alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import openvino as ov  # type: ignore[import-untyped]
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import compofa
from supernet import artifact
from supernet.architecture import Architecture
from supernet.artifact import Artifact
from tests.supernet.ofa_reference import State, forward, random_checkpoint

ARCH = Architecture(
    depths=(3, 2, 2, 3, 2),
    resolution=128,
    kernels=(7, 3, 5, 7, 3, 5, 7, 3, 5, 7, 3, 5),
    expand_ratios=(6, 4, 3, 6, 4, 3, 6, 4, 3, 6, 4, 3),
)
"""Free in each block, as Once-for-All's are: kernels through both matrices, each expand ratio."""
DIGITS = 1e-5  # of logits of about 1; what single precision leaves of a net this deep


@pytest.fixture(scope="module")
def state() -> State:
    return random_checkpoint(1.0, matrices=True)


@pytest.fixture(scope="module")
def folder(state: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact that `import-ofa` makes of the checkpoint."""
    place = tmp_path_factory.mktemp("imported")
    torch.save({"state_dict": state}, place / "net.pth.tar")
    status = compofa.main(["import-ofa", str(place / "net.pth.tar"), "--out", str(place / "net")])
    assert status == 0
    return place / "net"


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(3, 3, 128, 128, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def public(state: State, images: Tensor) -> Tensor:
    """The public net's logits [3, 10], in double precision."""
    exact = {key: tensor.double() for key, tensor in state.items()}
    return forward(exact, "conv", images.double(), ARCH.depths, ARCH.kernels, ARCH.expand_ratios)


@pytest.fixture(scope="module")
def imported(folder: Path) -> Artifact:
    return artifact.load(folder)


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_an_export_computes_what_the_checkpoint_says(
    folder: Path, imported: Artifact, images: Tensor, public: Tensor, tmp_path: Path, name: str
) -> None:
    out = tmp_path / ("net.onnx" if name == "onnx" else "net.xml")
    options = ["--subnet", ARCH.id, "--format", name, "--out", str(out)]
    assert compofa.main(["export", str(folder), *options]) == 0
    logits = torch.from_numpy(run(out, images.numpy()))
    # Random weights tell images apart by little, so the digits that do must be right.
    assert (public[0] - public[1]).abs().max() > 20 * DIGITS
    torch.testing.assert_close(logits.double(), public, atol=DIGITS, rtol=DIGITS)
    subnet = imported.supernet(images, ARCH)
    torch.testing.assert_close(logits, subnet, atol=DIGITS, rtol=DIGITS)


def run(path: Path, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits, by the format's own runtime."""
    if path.suffix == ".xml":
        compiled = ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return np.array(compiled(x)["logits"])
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.array(session.run(["logits"], {"input": x})[0])
