"""`compofa export` as its users meet it: what the exporters chat about is not to be seen."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


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
