"""TorchServe's archive format."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.exports.mar import MANIFEST, mar, model_name, unpacked

HANDLER = b"""
from pathlib import Path

class Handler:
    def initialize(self, context):
        folder = Path(context.system_properties["model_dir"])
        self.said = (folder / "folder" / "file").read_text()
"""


def test_an_archive_is_a_zip_file_with_a_manifest(tmp_path: Path) -> None:
    path = tmp_path / "net.mar"
    path.write_bytes(mar("a net/2", "handler.py", {"handler.py": HANDLER}))
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [MANIFEST, "handler.py"]
        manifest = json.loads(archive.read(MANIFEST))
    assert manifest["model"] == {
        "modelName": "a-net-2",
        "modelVersion": "1.0",
        "handler": "handler.py",
    }


def test_the_handler_finds_its_files_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "net.mar"
    path.write_bytes(mar("net", "handler.py", {"handler.py": HANDLER, "folder/file": b"here"}))
    before = set(sys.modules)
    with unpacked(path) as handler:
        assert handler.said == "here"
    assert set(sys.modules) == before


def test_a_module_with_two_classes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.mar"
    files = {"handler.py": HANDLER + b"class Other:\n    pass\n", "folder/file": b""}
    path.write_bytes(mar("net", "handler.py", files))
    with pytest.raises(ValueError, match="too many values"), unpacked(path):
        pass


@given(st.text())
def test_any_name_becomes_one_for_urls(name: str) -> None:
    found = model_name(name)
    assert len(found) == len(name)
    assert all(letter.isascii() and (letter.isalnum() or letter in "._-") for letter in found)
