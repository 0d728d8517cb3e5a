"""INT8 files are run and measured, and those that lose too much never leave."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import openvino as ov  # type: ignore[import-untyped]
import pytest
import torch

from supernet import artifact, shipped
from supernet.architecture import Architecture
from supernet.artifact import Artifact
from supernet.catalog import Int8Accuracy
from supernet.manifest import read_manifest
from tests.full_disk import files_at_most
from training.exports.comparison import read_shipped
from training.exports.int8_export import export_int8, keep, record
from training.exports.int8_images import Int8Images
from training.exports.onnx_program import OPSET
from training.exports.openvino_program import METADATA
from training.images.augment import Transform
from training.images.memory import MemorySource

pytestmark = pytest.mark.filterwarnings("ignore")  # of the library's own imports

SMALLEST = Architecture.parse("d2-2-2-2-2@20")


@pytest.fixture(scope="module")
def images(fashion: Artifact) -> Int8Images:
    transform = Transform(fashion.manifest.of_images)
    calibration, measured = (
        MemorySource(read_shipped(fashion.manifest, *places), transform)
        for places in ((0, 40), (40, 240))
    )
    return Int8Images(calibration, measured, "sample")


@pytest.mark.parametrize("name", ["onnx", pytest.param("openvino", marks=pytest.mark.slow)])
def test_the_accuracy_told_is_that_of_the_file(
    fashion: Artifact, images: Int8Images, tmp_path: Path, name: str
) -> None:
    if name == "openvino":
        pytest.importorskip("nncf", reason="nncf is not installed: the extra 'quantize'")
    out = tmp_path / ("net.onnx" if name == "onnx" else "net.xml")
    done, int8 = export_int8(fashion, SMALLEST, name, out, images, max_accuracy_drop=0.1)
    assert (int8.format, int8.images, int8.split) == (name, 200, "sample")
    right = float_right = 0
    for batch in images.batches(20):
        logits = run(out, batch.x.numpy())
        right += int((logits.argmax(1) == batch.labels.numpy()).sum())
        expected = fashion.supernet(batch.x, SMALLEST).argmax(1)
        float_right += int((expected == batch.labels).sum())
    assert (int8.accuracy, int8.float_accuracy) == (right / 200, float_right / 200)
    assert int8.float_accuracy > 0.85
    assert done.details["calibration_images"] == 40
    assert done.details["accuracy"] == int8.accuracy
    assert float(metadata(out)["expected_accuracy"]) == int8.accuracy
    assert metadata(out)["precision"] == "int8"
    assert metadata(out)["accuracies_of"] == "200 images, sample"
    assert done.size_bytes == sum(file.stat().st_size for file in tmp_path.iterdir())


def test_an_onnx_file_in_int8_keeps_its_form(
    fashion: Artifact, images: Int8Images, tmp_path: Path
) -> None:
    out, drop = tmp_path / "net", 0.1  # so few images are no measure
    export_int8(fashion, SMALLEST, "onnx", out, images, max_accuracy_drop=drop)
    model = onnx.load(out)
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    assert sum(node.op_type == "QuantizeLinear" for node in model.graph.node) > 20
    small = [v for v in model.graph.initializer if v.data_type == onnx.TensorProto.INT8]
    parameters = fashion.manifest.catalog[SMALLEST.id].parameters
    assert sum(np.prod(v.dims, dtype=int) for v in small) > 0.95 * parameters
    assert run(out, np.zeros((3, 1, 20, 20), np.float32)).shape == (3, 10)


def test_a_file_that_loses_too_much_does_not_replace_one(
    fashion: Artifact, images: Int8Images, tmp_path: Path
) -> None:
    """Calibrated on black images only, whatever a real one brings is clipped."""
    black = read_shipped(fashion.manifest, 0, 20)
    black = replace(black, pixels=torch.zeros_like(black.pixels))
    source = MemorySource(black, Transform(fashion.manifest.of_images))
    out = tmp_path / "net.onnx"
    out.write_text("old")
    with pytest.raises(
        ValueError, match=r"subnet d2-2-2-2-2@20 as onnx in INT8: accuracy 0\."
    ) as e:
        export_int8(fashion, SMALLEST, "onnx", out, replace(images, calibration=source))
    assert "expected a drop of at most 0.01; nothing was written" in str(e.value)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def test_the_catalog_keeps_the_figures_beside_the_float_one(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    shutil.copytree(shipped.artifact_folder(), folder)
    before = artifact.load(folder).manifest
    for accuracy in (0.5, 0.75):  # the second time in place of the first
        measured = {
            name: Int8Accuracy(format=name, accuracy=accuracy, float_accuracy=0.9, images=200)
            for name in ("onnx", "openvino")
        }
        assert all(record(folder, SMALLEST.id, each) for each in measured.values())
    after = artifact.load(folder).manifest
    entry = after.catalog[SMALLEST.id]
    assert entry.int8 == tuple(measured.values())
    assert entry.accuracy == before.catalog[SMALLEST.id].accuracy
    restored = after.catalog.replaced(entry.model_copy(update={"int8": None}))
    assert after.model_copy(update={"catalog": restored}) == before
    assert after.artifact_hash == before.artifact_hash
    assert not record(folder, "d2-2-2-2-2@12", measured["onnx"])


def test_the_net_that_ships_is_left_as_it_is_unless_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package's files are not its user's to change, nor a checkout's a command's."""
    package, own = tmp_path / "package" / "net", tmp_path / "own"
    for folder in (package, own):
        shutil.copytree(shipped.artifact_folder(), folder)
    monkeypatch.setattr(shipped, "_HERE", package.parent)
    (tmp_path / "link").symlink_to(package)
    measured = Int8Accuracy(format="onnx", accuracy=0.8, float_accuracy=0.9, images=200)

    def kept(folder: Path) -> object:
        return read_manifest(folder).catalog[SMALLEST.id].int8

    for folder in (package, tmp_path / "link"):
        told = keep(folder, SMALLEST.id, measured)
        assert told is not None
        assert "left as it is: both accuracies are in the file alone" in told
    assert keep(own, SMALLEST.id, measured, wanted=False) is None
    assert kept(package) is kept(own) is None
    assert keep(package, SMALLEST.id, measured, wanted=True) is None
    assert keep(own, SMALLEST.id, measured) is None
    assert kept(package) == kept(own) == (measured,)
    told = keep(own, "d2-2-2-2-2@12", measured)
    assert told == "the catalog has no INT8 accuracy of d2-2-2-2-2@12: it does not list it"
    with files_at_most(1000):
        told = keep(own, SMALLEST.id, measured)
    missing = "the catalog has no INT8 accuracy of d2-2-2-2-2@20"
    assert told == f"{own / 'artifact.json'}: File too large; {missing}"


def test_exports_that_end_together_keep_what_each_has_measured(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    shutil.copytree(shipped.artifact_folder(), folder)
    before = read_manifest(folder).catalog
    subnets = list(before.subnets())[:6]
    measured = Int8Accuracy(format="onnx", accuracy=0.8, float_accuracy=0.9, images=200)
    with ThreadPoolExecutor(len(subnets)) as threads:
        assert all(threads.map(lambda subnet: record(folder, subnet, measured), subnets))
    after = read_manifest(folder).catalog
    assert [entry.subnet for entry in after.entries if entry.int8] == subnets


def test_onnx_runtime_runs_convolutions_in_int8(
    fashion: Artifact, images: Int8Images, tmp_path: Path
) -> None:
    """What it does not fuse it would run in float between conversions, slower than before."""
    out, fused = tmp_path / "net.onnx", tmp_path / "fused.onnx"
    export_int8(fashion, SMALLEST, "onnx", out, images, max_accuracy_drop=0.1)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(fused)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(out, options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(fused).graph.node]
    assert "QLinearConv" in kinds
    assert not {"Conv", "FusedConv"} & set(kinds)


def run(path: Path, x: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> np.ndarray:
    """Logits, by the format's runtime."""
    if path.suffix == ".xml":
        compiled = ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return np.array(compiled(x)["logits"])
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.array(session.run(["logits"], {"input": x})[0])


def metadata(path: Path) -> dict[str, str]:
    if path.suffix == ".xml":
        model = ov.Core().read_model(path)
        found = model.get_rt_info([METADATA]).value
        return {key: model.get_rt_info([METADATA, key]).value for key in found}
    return {each.key: each.value for each in onnx.load(path).metadata_props}
