"""`compofa export`: what it says, and what it makes of bad input."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from tests.exit_status import exit_status
from training import cli


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"--subnet": "largest"}, 1, "subnet id 'largest'"),
        ({"--subnet": "d2-5@12"}, 1, "subnet d2-5@12: expected 2 depths from (2, 3, 4)"),
        ({"--subnet": "d2-2@13"}, 1, "expected a resolution from [12, 16]"),
        ({"--subnet": "all"}, 1, "--subnet all: expected --format torchserve, got torch"),
        ({"--subnet": "all", "--format": "torchserve"}, 1, "use 'compofa export'"),
        ({"--data": "file"}, 1, "--data: only with --int8"),
        ({"--max-accuracy-drop": "0.1"}, 1, "--max-accuracy-drop: only with --int8"),
        ({"--record": ""}, 1, "--record: only with --int8"),
        ({"--int8": ""}, 1, "INT8: expected one of the formats onnx, openvino, got torch"),
        ({"--int8": "", "--format": "onnx"}, 1, "--data: INT8 needs images to calibrate by"),
        ({"--int8": "", "--format": "onnx", "--data": "x"}, 1, "data set x: there is no such"),
        ({"--format": "openvino"}, 1, "--out net: expected a name that ends in .xml"),
        ({"--format": "torchserve"}, 1, "--out net: expected a name that ends in .mar"),
        ({"--max-accuracy-drop": "2"}, 2, "'2': expected a number from 0 to 1"),
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
    options = [word for pair in given.items() for word in pair if word]
    assert exit_status(cli.main, "export", artifact_folder, *options) == status
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
    assert exit_status(cli.main, "export", "no-artifact", *options) == 1
    told = capsys.readouterr().err
    assert told == "compofa: format 'onnx' needs onnxruntime: pip install 'compofa[export]'\n"


def test_the_command_says_what_it_did_in_one_line(
    artifact_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "net.pt2"
    options = ["--subnet", "d2-2@12", "--format", "torch", "--out", str(out)]
    assert exit_status(cli.main, "export", artifact_folder, *options) == 0
    said = capfd.readouterr()
    assert said.err == ""
    assert said.out == (
        f"{out}: torch of d2-2@12, {out.stat().st_size:,} bytes, max difference 0 on 8 images of "
        f"seeded noise, torch {torch.__version__}\n"
    )
