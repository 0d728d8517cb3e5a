"""An export runs elsewhere as the subnet runs here, says what it is, or is not there at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn
from torch.export import ExportedProgram

from supernet import artifact
from supernet.artifact import Artifact, Description
from supernet.catalog import Catalog
from supernet.manifest import Preprocessing, TextPreprocessing
from supernet.model import Supernet
from supernet.normalization import PieceAffine, SubnetStatistics
from supernet.presets import design_space
from tests.full_disk import files_at_most
from tests.training.exports.conftest import SMALLEST, Exported
from training.exports import torch_program
from training.exports.export import export
from training.exports.formats import FORMATS


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("onnx", marks=pytest.mark.slow),
        pytest.param("openvino", marks=pytest.mark.slow),
        "torch",
        "torchserve",
    ],
)
def test_the_bytes_depend_on_the_subnet_alone(
    tiny: Artifact, exported: Exported, tmp_path: Path, name: str
) -> None:
    again = tmp_path / f"other-name{FORMATS[name].suffix}"
    export(tiny, SMALLEST, name, again)
    files = (tmp_path, exported(name).parent)
    first, second = ({f.suffix: f.read_bytes() for f in folder.iterdir()} for folder in files)
    assert first == second
    program = b"".join(first.values())
    assert (
        b"/site-packages/" not in program
    )  # no stack trace, which would name this machine's paths


@pytest.mark.slow
def test_a_net_of_imagenets_size_is_one_file_too(
    fold_randomly: Callable[..., Any], tmp_path: Path, description: artifact.Description
) -> None:
    space = design_space("imagenet-mbv3-w1.2")
    labels = tuple(f"class {i}" for i in range(space.skeleton.classes))
    preprocessing = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    described = replace(description, labels=labels, preprocessing=preprocessing, catalog=Catalog())
    artifact.save(tmp_path / "net", fold_randomly(space), described)
    out = tmp_path / "out" / "net.onnx"
    out.parent.mkdir()
    done = export(artifact.load(tmp_path / "net"), space.largest, "onnx", out)
    assert list(out.parent.iterdir()) == [out]
    assert done.size_bytes > 30_000_000


@pytest.mark.parametrize(("error", "told"), [(3e-4, "0.0003"), (float("nan"), "nan")])
def test_a_file_that_disagrees_does_not_replace_one(
    tiny: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: float, told: str
) -> None:
    right = torch_program.convert

    def wrong(subnet: nn.Sequential, example: Tensor) -> ExportedProgram:
        return right(nn.Sequential(*subnet, _Add(error)), example)

    out = tmp_path / "net.pt2"
    out.write_text("old")
    monkeypatch.setattr(torch_program, "convert", wrong)
    with pytest.raises(ValueError, match=f"d2-2@12 as torch: its logits differ by {told}"):
        export(tiny, SMALLEST, "torch", out)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_a_subnet_without_statistics_asks_for_calibration(
    tiny: Artifact, tmp_path: Path, artifact_folder: Path
) -> None:
    other = artifact.load(artifact_folder)
    other.supernet.normalization = SubnetStatistics()
    with pytest.raises(ValueError, match=r"subnet d2-2@12: .*; calibrate"):
        export(Artifact(tiny.manifest, other.supernet), SMALLEST, "torch", tmp_path / "net")
    assert not list(tmp_path.iterdir())


def test_a_link_stays_and_leads_to_the_new_file(
    tiny: Artifact, tmp_path: Path, exported: Exported
) -> None:
    (tmp_path / "current").symlink_to("net-1")  # which is not there yet
    export(tiny, SMALLEST, "onnx", tmp_path / "current")
    assert (tmp_path / "current").is_symlink()
    assert (tmp_path / "net-1").read_bytes() == exported("onnx").read_bytes()


def test_a_full_disk_leaves_nothing(tiny: Artifact, tmp_path: Path) -> None:
    out = tmp_path / "net.pt2"
    with files_at_most(10_000), pytest.raises(OSError, match="too large") as caught:
        export(tiny, SMALLEST, "torch", out)
    assert caught.value.filename == str(out)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_leaves_nothing(tiny: Artifact, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError) as caught:
        export(tiny, SMALLEST, "torch", tmp_path / "net.pt2")
    assert caught.value.filename == str(tmp_path / "net.pt2")
    assert not list(tmp_path.iterdir())


class _Add(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return x + self.value


@pytest.mark.parametrize("name", ["onnx", "torch", "openvino"])
def test_a_net_that_takes_tokens_is_exported_too(tmp_path: Path, name: str) -> None:
    space = design_space("words")
    supernet = Supernet(space, PieceAffine()).eval().requires_grad_(False)
    preprocessing = TextPreprocessing(alphabet="abc")
    labels = tuple("abcdefghij")
    artifact.save(tmp_path / "net", supernet, Description("words", preprocessing, labels))
    loaded = artifact.load(tmp_path / "net")
    suffix = {"onnx": "onnx", "torch": "pt2", "openvino": "xml"}[name]
    done = export(loaded, space.smallest, name, tmp_path / f"subnet.{suffix}")
    assert done.images == "8 seeded rows of tokens"
    assert done.max_difference < 1e-4
