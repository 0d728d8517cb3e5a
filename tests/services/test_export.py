"""`compofa export` as its users meet it: what the exporters chat about is not to be seen."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from supernet import shipped
from supernet.manifest import read_manifest


def test_export_prints_one_document_and_nothing_else(artifact_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "net.onnx"
    command = [sys.executable, "-m", "compofa", "export", str(artifact_folder)]
    options = ["--subnet", "d2-3@16", "--format", "onnx", "--out", str(out), "--json"]
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, timeout=90, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert said.pop("max_difference") < 1e-4
    assert said == {
        "path": str(out),
        "format": "onnx",
        "subnet": "d2-3@16",
        "bytes": out.stat().st_size,
        "images": "8 images of seeded noise",
        "opset": 18,
    }


@pytest.mark.slow  # test_int8_export.py has the same without the command
def test_int8_prints_one_document_and_fills_the_catalog(tmp_path: Path) -> None:
    folder, out, subnet = tmp_path / "net", tmp_path / "net.onnx", "d2-2-2-2-2@20"
    shutil.copytree(shipped.artifact_folder(), folder)
    command = [sys.executable, "-m", "compofa", "export", str(folder), "--subnet", subnet, "--json"]
    options = ["--format", "onnx", "--out", str(out), "--int8", "--max-accuracy-drop", "0.1"]
    data = ["--data", str(shipped.images()[0][0].parents[1]), "--calibration-images", "20"]
    done = subprocess.run(
        [*command, *options, *data, "--workers", "0"], capture_output=True, text=True, timeout=90,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == "300 images are fewer than the 5000 to hold out: 150 are held out\n"
    said = json.loads(done.stdout)
    assert (said["precision"], said["measured_images"]) == ("int8", 150)
    entry = read_manifest(folder).catalog[subnet]
    assert entry.int8 is not None
    (int8,) = entry.int8
    assert (int8.format, int8.accuracy) == ("onnx", said["accuracy"])
