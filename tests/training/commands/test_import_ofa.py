"""`compofa import-ofa`: from a public checkpoint to an artifact that can be loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import compofa
from supernet import artifact
from supernet.accuracy_predictor import read_predictor
from supernet.architecture import Architecture
from supernet.manifest import read_manifest
from tests.supernet.ofa_reference import random_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("public") / "net.pth.tar"
    torch.save({"state_dict": random_checkpoint(1.2, matrices=True)}, path)
    return path


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("public") / "predictor.pth"
    last = nn.Linear(400, 1)
    nn.init.constant_(last.bias, 0.7)
    layers = [nn.Linear(128, 400), nn.ReLU(), nn.Linear(400, 400), nn.ReLU(),
              nn.Linear(400, 400), nn.ReLU(), last]  # fmt: skip
    torch.save(nn.Sequential(*layers).state_dict(), path)
    return path


def test_without_a_predictor_the_catalog_is_empty(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "net"
    assert compofa.main(["import-ofa", str(checkpoint), "--out", str(out)]) == 0
    manifest = artifact.load(out).manifest
    assert manifest.name == manifest.design_space.name == "imagenet-mbv3-ofa-w1.2"
    assert manifest.normalization == "shared-statistics"
    assert manifest.labels == tuple("0123456789")
    assert manifest.of_images.centre_crop == 0.875
    assert len(manifest.catalog) == 0
    said = capsys.readouterr().out
    assert "supernet, kernels 7-7-7-7-7 transformed, width 1.2, 10 classes" in said
    assert "catalog: empty" in said
    assert f"next: compofa calibrate {out} --data" in said


def test_a_predictor_fills_the_catalog_and_is_named_in_it(
    tmp_path: Path, checkpoint: Path, predictor: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, labels = tmp_path / "net", tmp_path / "labels.txt"
    labels.write_text("\n".join("abcdefghij") + "\n")
    status = compofa.main([
        "import-ofa", str(checkpoint), "--out", str(out), "--accuracy-predictor", str(predictor),
        "--design-space", "compound", "--name", "mine", "--labels", str(labels),
    ])  # fmt: skip
    assert status == 0
    manifest = read_manifest(out)
    assert manifest.name == "mine"
    assert manifest.labels == tuple("abcdefghij")
    assert manifest.catalog.predicted_by == "predictor.pth"
    assert "d2-3-4-2-3@192" in manifest.catalog
    assert len(manifest.catalog) == 243 * 4
    kept = read_predictor(out, manifest)
    assert kept is not None
    arch = Architecture.parse("d2-3-4-2-3@192")
    (predicted,) = kept.predict(manifest.design_space, [arch])
    assert manifest.catalog[arch.id].accuracy == pytest.approx(predicted, abs=1e-5)
    said = capsys.readouterr().out
    assert "catalog: 972 subnets, accuracies predicted by predictor.pth" in said
    assert "not in the catalog: resolution 128" in said


@pytest.mark.parametrize(
    ("lines", "expected"), [(b"a\nb\n", "expected 10 lines, got 2"), (b"\xff\xfe", "UTF-8")]
)
def test_labels_that_do_not_fit_are_refused(
    tmp_path: Path,
    checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
    lines: bytes,
    expected: str,
) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_bytes(lines)
    arguments = ["import-ofa", str(checkpoint), "--out", str(tmp_path / "net")]
    assert compofa.main([*arguments, "--labels", str(labels)]) == 1
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".hidden", "a\nb"])
def test_a_name_that_no_folder_can_have_is_refused(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    out = tmp_path / "net"
    with pytest.raises(SystemExit):
        compofa.main(["import-ofa", str(checkpoint), "--out", str(out), "--name", name])
    assert f"argument --name: {name!r}: expected a name without '/'" in capsys.readouterr().err
    assert not out.exists()


def test_a_file_that_is_no_checkpoint_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.pth"
    path.write_text("hello\n")
    assert compofa.main(["import-ofa", str(path), "--out", str(tmp_path / "net")]) == 1
    assert capsys.readouterr().err == (
        f"compofa: checkpoint {path}: is not what torch.save writes, or is truncated\n"
    )
