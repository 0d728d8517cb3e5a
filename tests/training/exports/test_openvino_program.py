"""OpenVINO IR, read by OpenVINO from its two files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import openvino as ov  # type: ignore[import-untyped]
import pytest
import torch

from supernet.artifact import Artifact
from tests.full_disk import files_at_most
from tests.training.exports.conftest import SMALLEST, Exported, check_metadata
from training.exports.comparison import TOLERANCE
from training.exports.export import export
from training.exports.openvino_program import METADATA


def test_openvino_gives_what_the_supernet_gives(tiny: Artifact, exported: Exported) -> None:
    compiled = ov.Core().compile_model(
        exported("openvino"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    for batch in (1, 5):
        x = torch.randn(batch, 1, 12, 12)
        logits = torch.from_numpy(compiled({"input": x.numpy()})["logits"])
        assert torch.allclose(logits, tiny.supernet(x, SMALLEST), rtol=0, atol=TOLERANCE)


def test_the_files_say_what_they_are(tiny: Artifact, exported: Exported) -> None:
    path = exported("openvino")
    assert sorted(file.name for file in path.parent.iterdir()) == ["net.bin", "net.xml"]
    model = ov.Core().read_model(path)
    assert [dim.to_string() for dim in model.input("input").partial_shape] == ["?", "1", "12", "12"]
    found: Any = model.get_rt_info([METADATA]).value
    check_metadata({key: model.get_rt_info([METADATA, key]).value for key in found}, tiny.manifest)


def test_a_second_export_replaces_both_files(
    tiny: Artifact, tmp_path: Path, exported: Exported
) -> None:
    for name in ("net.xml", "net.bin"):
        (tmp_path / name).write_text("old")
    export(tiny, SMALLEST, "openvino", tmp_path / "net.xml")
    for name in ("net.xml", "net.bin"):
        assert (tmp_path / name).read_bytes() == exported("openvino").with_name(name).read_bytes()


def test_weights_without_room_leave_the_old_files(tiny: Artifact, tmp_path: Path) -> None:
    for name in ("net.xml", "net.bin"):
        (tmp_path / name).write_text("old")
    with files_at_most(10_000), pytest.raises(OSError, match="OpenVINO cannot write it"):
        export(tiny, SMALLEST, "openvino", tmp_path / "net.xml")
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        "net.xml": "old",
        "net.bin": "old",
    }


@pytest.mark.parametrize(
    ("name", "message"), [("net", "ends in .xml"), ("link.xml", "expected no link")]
)
def test_a_name_that_openvino_would_not_read_is_refused(
    tiny: Artifact, tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "link.xml").symlink_to("elsewhere.xml")
    with pytest.raises(ValueError, match=f"--out .*: .*{message}"):
        export(tiny, SMALLEST, "openvino", tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == ["link.xml"]


def test_weights_of_another_file_are_never_taken(exported: Exported, tmp_path: Path) -> None:
    """What the order of replacing rests on: without its weights the `.xml` does not load."""
    shutil.copy(exported("openvino"), tmp_path / "net.xml")
    with pytest.raises(RuntimeError):
        ov.Core().read_model(tmp_path / "net.xml")
