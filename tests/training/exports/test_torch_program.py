"""`torch.export` programs, loaded by torch alone."""

from __future__ import annotations

import json

import torch

from supernet.artifact import Artifact
from tests.training.exports.conftest import SMALLEST, Exported, check_metadata
from training.exports.comparison import TOLERANCE
from training.exports.metadata import describe


def test_a_torch_program_needs_nothing_of_ours(tiny: Artifact, exported: Exported) -> None:
    out = exported("torch")
    assert list(out.parent.iterdir()) == [out]
    files = {"metadata.json": ""}
    module = torch.export.load(out, extra_files=files).module()
    for batch in (1, 5):
        x = torch.randn(batch, 1, 12, 12)
        assert torch.allclose(module(x), tiny.supernet(x, SMALLEST), rtol=0, atol=TOLERANCE)
    metadata = json.loads(files["metadata.json"])
    assert metadata == describe(tiny.manifest, SMALLEST)
    check_metadata(metadata, tiny.manifest)
