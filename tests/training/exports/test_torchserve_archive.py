"""The archive of one subnet, without TorchServe; with it: tests/services."""

from __future__ import annotations

import json
import zipfile

import torch

from supernet.artifact import Artifact
from tests.training.exports.conftest import SMALLEST, Exported, check_metadata
from training.exports.comparison import TOLERANCE
from training.exports.mar import MANIFEST
from training.exports.torchserve_archive import HANDLER, load


def test_the_archive_is_whole(tiny: Artifact, exported: Exported) -> None:
    with zipfile.ZipFile(exported("torchserve")) as archive:
        assert archive.namelist() == [MANIFEST, HANDLER, "subnet.pt2", "metadata.json"]
        check_metadata(json.loads(archive.read("metadata.json")), tiny.manifest)
        assert json.loads(archive.read(MANIFEST))["model"]["modelName"] == "tiny"


def test_what_was_loaded_outlives_its_files(tiny: Artifact, exported: Exported) -> None:
    run = load(exported("torchserve"))
    for batch in (1, 5):
        x = torch.randn(batch, 1, 12, 12)
        assert torch.allclose(run(x), tiny.supernet(x, SMALLEST), rtol=0, atol=TOLERANCE)
