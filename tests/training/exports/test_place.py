"""Files come to their place whole, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.exports.place import place_for


def test_of_two_files_the_one_asked_for_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, seen = tmp_path / "net.xml", []
    out.write_text("old")
    out.with_suffix(".bin").write_text("old")
    move = Path.replace

    def watched(self: Path, target: Path) -> Path:
        seen.append((target.name, out.exists()))
        return move(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    with place_for(out) as path:
        path.write_text("new")
        path.with_suffix(".bin").write_text("new")
    assert seen == [("net.bin", False), ("net.xml", False)]
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        "net.xml": "new",
        "net.bin": "new",
    }


def test_one_file_is_never_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "net.onnx"
    out.write_text("old")
    monkeypatch.delattr(Path, "unlink")
    with place_for(out) as path:
        path.write_text("new")
    assert out.read_text() == "new"


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "net.onnx"
    out.write_text("old")
    with pytest.raises(ValueError, match="no"), place_for(out) as path:
        raise ValueError(path.write_text("no"), "no")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]
