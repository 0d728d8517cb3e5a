"""ONNX files, as ONNX Runtime and `onnx` see them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
import torch

from supernet.architecture import Architecture
from supernet.artifact import Artifact
from tests.training.exports.conftest import Exported, check_metadata
from training.exports.comparison import TOLERANCE, check_inputs
from training.exports.export import export
from training.exports.onnx_program import OPSET


@pytest.mark.parametrize(
    "subnet",
    [
        "d2-2-2-2-2@20",
        "d2-3-2-2-4@24",
        pytest.param("d2-2-4-2-2@28", marks=pytest.mark.slow),  # each takes seconds
        pytest.param("d4-4-4-4-4@28", marks=pytest.mark.slow),
    ],
)
def test_onnx_runtime_gives_what_the_supernet_gives(
    fashion: Artifact, tmp_path: Path, subnet: str
) -> None:
    arch, out = Architecture.parse(subnet), tmp_path / "net.onnx"
    done = export(fashion, arch, "onnx", out)
    assert (done.subnet, done.size_bytes) == (subnet, out.stat().st_size)
    assert done.images == "8 Fashion-MNIST images"
    assert 0 < done.max_difference <= TOLERANCE
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    images, _ = check_inputs(fashion.manifest, arch.resolution)
    for x in (images[:1], images[:3], images):
        (logits,) = session.run(["logits"], {"input": x.numpy()})
        expected = fashion.supernet(x, arch)
        assert logits.dtype == "float32"
        assert torch.allclose(torch.from_numpy(logits), expected, rtol=0, atol=TOLERANCE)


def test_an_onnx_file_says_all_that_is_needed_to_use_it(tiny: Artifact, exported: Exported) -> None:
    out = exported("onnx")
    assert list(out.parent.iterdir()) == [out]  # one file, weights within
    model = onnx.load(out)
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    assert _sizes(model.graph.input) == {"input": ["batch", 1, 12, 12]}
    assert _sizes(model.graph.output) == {"logits": ["batch", 10]}
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    check_metadata(session.get_modelmeta().custom_metadata_map, tiny.manifest)


def _sizes(values: Any) -> dict[str, list[str | int]]:
    """Name → sizes of a graph's inputs or outputs."""
    return {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in values
    }
