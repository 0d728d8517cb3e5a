"""The tour of the Python API runs as it stands, and what it leaves is what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import onnxruntime  # type: ignore[import-untyped]
import pytest
from PIL import Image

from supernet import shipped
from supernet.architecture import Architecture
from supernet.manifest import read_manifest

TOUR = Path(__file__).parents[2] / "docs" / "tour.py"


@pytest.mark.timeout(300)
def test_the_tour(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: the extra 'plot'")
    done = subprocess.run(
        [sys.executable, str(TOUR)], cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=280, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    manifest = read_manifest(shipped.artifact_folder())
    said = done.stdout
    assert said.startswith(f"{manifest.name}: 729 subnets, artifact {manifest.artifact_hash[:8]}\n")
    found = re.search(r"^within 8 ms: (\S+), .* in (\S+) ms$", said, re.MULTILINE)
    assert found is not None
    arch = Architecture.parse(found[1])
    assert float(found[2]) <= 8.0
    (parameters,) = re.findall(r"^extracted: (\S+) parameters", said, re.MULTILINE)
    listed = manifest.catalog[arch.id].parameters  # with a scale a channel, which is folded now
    assert 0.95 * listed < int(parameters.replace(",", "")) < listed
    (right,) = re.findall(r"^right on (\S+)% of 300 images", said, re.MULTILINE)
    assert float(right) > 90
    differences = [float(off) for off in re.findall(r"off by (\S+)$", said, re.MULTILINE)]
    assert len(differences) == 2
    assert max(differences) < 1e-4

    with Image.open(tmp_path / "frontier.png") as picture:
        assert picture.format == "PNG"
        assert len(picture.convert("L").getcolors() or ()) > 10, "something is drawn"
    session = onnxruntime.InferenceSession(tmp_path / "subnet.onnx")
    assert session.get_modelmeta().custom_metadata_map["subnet"] == arch.id
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frontier.png", "subnet.onnx"]
