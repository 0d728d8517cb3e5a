"""An export runs elsewhere as the subnet runs here, says what it is, or is not there at all."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from supernet import artifact, shipped
from supernet.architecture import Architecture
from supernet.artifact import Artifact
from supernet.catalog import Catalog
from supernet.manifest import Manifest, Preprocessing
from supernet.normalization import SubnetStatistics
from supernet.presets import design_space
from tests.full_disk import files_at_most
from training import cli
from training.exports import formats as export_formats
from training.exports import torch_program
from training.exports.export import TOLERANCE, check_images, describe, export, max_difference
from training.exports.onnx_program import OPSET

SMALLEST = Architecture.parse("d2-2@12")


@pytest.fixture(scope="module")
def tiny(artifact_folder: Path) -> Artifact:
    return artifact.load(artifact_folder)


@pytest.fixture(scope="module")
def fashion() -> Artifact:
    return artifact.load(shipped.artifact_folder())


@pytest.fixture(scope="module")
def exports(tiny: Artifact, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The smallest subnet of the tiny net in every format. Shared: do not change."""
    files = {}
    for name in export_formats.FORMATS:
        files[name] = tmp_path_factory.mktemp(name) / "net"
        export(tiny, SMALLEST, name, files[name])
    return files


@pytest.mark.parametrize(
    "subnet",
    [
        "d2-2-2-2-2@20",
        "d2-3-2-2-4@24",
        "d2-2-4-2-2@28",
        pytest.param("d4-4-4-4-4@28", marks=pytest.mark.slow),  # takes seconds
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
    images, _ = check_images(fashion.manifest, arch.resolution)
    for x in (images[:1], images[:3], images):
        (logits,) = session.run(["logits"], {"input": x.numpy()})
        expected = fashion.supernet(x, arch)
        assert logits.dtype == "float32"
        assert torch.allclose(torch.from_numpy(logits), expected, rtol=0, atol=TOLERANCE)


def test_an_onnx_file_says_all_that_is_needed_to_use_it(
    tiny: Artifact, exports: dict[str, Path]
) -> None:
    out = exports["onnx"]
    assert list(out.parent.iterdir()) == [out]  # one file, weights within
    model = onnx.load(out)
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    assert _sizes(model.graph.input) == {"input": ["batch", 1, 12, 12]}
    assert _sizes(model.graph.output) == {"logits": ["batch", 10]}
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    _check_metadata(session.get_modelmeta().custom_metadata_map, tiny.manifest)


def test_a_torch_program_needs_nothing_of_ours(tiny: Artifact, exports: dict[str, Path]) -> None:
    out = exports["torch"]
    assert list(out.parent.iterdir()) == [out]
    files = {"metadata.json": ""}
    module = torch.export.load(out, extra_files=files).module()
    for batch in (1, 5):
        x = torch.randn(batch, 1, 12, 12)
        assert torch.allclose(module(x), tiny.supernet(x, SMALLEST), rtol=0, atol=TOLERANCE)
    metadata = json.loads(files["metadata.json"])
    assert metadata == describe(tiny.manifest, SMALLEST)
    _check_metadata(metadata, tiny.manifest)


@pytest.mark.parametrize("name", [pytest.param("onnx", marks=pytest.mark.slow), "torch"])
def test_the_bytes_depend_on_the_subnet_alone(
    tiny: Artifact, exports: dict[str, Path], tmp_path: Path, name: str
) -> None:
    again = tmp_path / "other-name.bin"
    export(tiny, SMALLEST, name, again)
    assert again.read_bytes() == exports[name].read_bytes()
    assert b".py" not in again.read_bytes()  # no stack trace, which would name this machine's paths


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


@given(
    row=st.integers(0, 7),
    label=st.integers(0, 9),
    error=st.floats(-1, 1, width=32).filter(lambda e: abs(e) > 1e-3),
)
def test_an_error_in_any_logit_is_seen(row: int, label: int, error: float) -> None:
    x = torch.randn(8, 10, generator=torch.Generator().manual_seed(0))
    changed = x.clone()
    changed[row, label] += error
    found = max_difference(lambda batch: changed[: len(batch)], nn.Identity(), x)
    assert found == pytest.approx(abs(error), rel=1e-3)


@pytest.mark.parametrize(("error", "told"), [(3e-4, "0.0003"), (float("nan"), "nan")])
def test_a_file_that_disagrees_does_not_replace_one(
    tiny: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: float, told: str
) -> None:
    right = torch_program.write

    def wrong(subnet: nn.Sequential, *others: Any) -> None:
        right(nn.Sequential(*subnet, _Add(error)), *others)

    out = tmp_path / "net.pt2"
    out.write_text("old")
    monkeypatch.setattr(torch_program, "write", wrong)
    with pytest.raises(ValueError, match=f"d2-2@12 as torch: its logits differ by {told}"):
        export(tiny, SMALLEST, "torch", out)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_a_wrong_shape_is_a_mismatch() -> None:
    x = torch.zeros(8, 10)
    assert max_difference(lambda batch: batch[:1], nn.Identity(), x) == float("inf")


def test_a_subnet_outside_the_catalog_leaves_without_an_accuracy(tiny: Artifact) -> None:
    unlisted = tiny.manifest.model_copy(update={"catalog": Catalog()})
    listed = describe(tiny.manifest, SMALLEST)
    accuracy = listed.pop("expected_accuracy")
    assert accuracy == tiny.manifest.catalog[SMALLEST.id].accuracy
    assert describe(unlisted, SMALLEST) == listed


@pytest.mark.parametrize(("crop", "part"), [(None, "the whole image"), (0.875, "with 0.875 of")])
def test_the_part_of_the_image_to_take_is_told(
    tiny: Artifact, crop: float | None, part: str
) -> None:
    preprocessing = Preprocessing(mean=(0.5,), std=(0.25,), centre_crop=crop)
    manifest = tiny.manifest.model_copy(update={"preprocessing": preprocessing})
    told = describe(manifest, SMALLEST)["preprocessing"]
    assert part in told["resize"]
    assert told.get("centre_crop") == crop


def test_a_subnet_without_statistics_asks_for_calibration(
    tiny: Artifact, tmp_path: Path, artifact_folder: Path
) -> None:
    other = artifact.load(artifact_folder)
    other.supernet.normalization = SubnetStatistics()
    with pytest.raises(ValueError, match=r"subnet d2-2@12: .*; calibrate"):
        export(Artifact(tiny.manifest, other.supernet), SMALLEST, "torch", tmp_path / "net")
    assert not list(tmp_path.iterdir())


def test_other_nets_are_compared_on_the_same_noise_every_time(tiny: Artifact) -> None:
    x, source = check_images(tiny.manifest, 12)
    assert (x.shape, source) == ((8, 1, 12, 12), "8 images of seeded noise")
    assert torch.equal(x, check_images(tiny.manifest, 12)[0])
    low, high = (0 - 0.5) / 0.25, (1 - 0.5) / 0.25  # what pixels become with the tiny net's numbers
    assert low <= x.min() < 0.9 * low
    assert 0.9 * high < x.max() <= high


def test_a_link_stays_and_leads_to_the_new_file(
    tiny: Artifact, tmp_path: Path, exports: dict[str, Path]
) -> None:
    (tmp_path / "current").symlink_to("net-1")  # which is not there yet
    export(tiny, SMALLEST, "onnx", tmp_path / "current")
    assert (tmp_path / "current").is_symlink()
    assert (tmp_path / "net-1").read_bytes() == exports["onnx"].read_bytes()


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


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"--subnet": "largest"}, 1, "subnet id 'largest'"),
        ({"--subnet": "d2-5@12"}, 1, "subnet d2-5@12: expected 2 depths from (2, 3, 4)"),
        ({"--subnet": "d2-2@13"}, 1, "expected a resolution from [12, 16]"),
        ({"--format": "tflite"}, 2, "invalid choice: 'tflite'"),
        ({"--out": "."}, 1, "--out .: expected a file"),
        ({"--out": "missing/net"}, 1, "missing/net: No such file or directory"),
        ({"--out": "file/net"}, 1, "file/net: Not a directory"),
        ({"--out": "/dev/null"}, 1, "--out /dev/null: expected a file"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    artifact_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], changes: dict[str, str], status: int, message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    given = {"--subnet": "d2-2@12", "--format": "torch", "--out": "net", **changes}
    options = [word for pair in given.items() for word in pair]
    assert _status(["export", str(artifact_folder), *options]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_missing_package_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not installed
    options = ["--subnet", "d2-2@12", "--format", "onnx", "--out", str(tmp_path / "net")]
    assert _status(["export", "no-artifact", *options]) == 1
    told = capsys.readouterr().err
    assert told == "compofa: format 'onnx' needs onnxruntime: pip install 'compofa[export]'\n"


def test_the_command_says_what_it_did_in_one_line(
    artifact_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "net.pt2"
    options = ["--subnet", "d2-2@12", "--format", "torch", "--out", str(out)]
    assert _status(["export", str(artifact_folder), *options]) == 0
    said = capfd.readouterr()
    assert said.err == ""
    assert said.out == (
        f"{out}: torch of d2-2@12, {out.stat().st_size:,} bytes, max difference 0 on 8 images of "
        f"seeded noise, torch {torch.__version__}\n"
    )


class _Add(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return x + self.value


def _status(argv: list[str]) -> int:
    try:
        return cli.main(argv)
    except SystemExit as stop:
        return int(stop.code or 0)


def _sizes(values: Any) -> dict[str, list[str | int]]:
    """Name → sizes of a graph's inputs or outputs."""
    return {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in values
    }


def _check_metadata(found: dict[str, Any], manifest: Manifest) -> None:
    """Against the manifest; ONNX has every value as text, JSON where it is not words."""

    def value(key: str) -> Any:
        text = found[key]
        return json.loads(text) if isinstance(text, str) else text

    assert found["subnet"] == SMALLEST.id
    assert found["artifact"] == manifest.name
    assert found["artifact_hash"] == manifest.artifact_hash
    assert found["compofa_version"]
    assert tuple(value("labels")) == manifest.labels
    assert value("expected_accuracy") == manifest.catalog[SMALLEST.id].accuracy
    preprocessing = value("preprocessing")
    assert preprocessing["resolution"] == SMALLEST.resolution
    assert tuple(preprocessing["mean"]) == manifest.preprocessing.mean
    assert tuple(preprocessing["std"]) == manifest.preprocessing.std
    assert preprocessing["colour"] == "grayscale"
    assert "bilinear" in preprocessing["resize"]
