"""The command `fetch` without a gateway, and what it says where that cannot be."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from tests.gateway.command_line import Cli, failed


@pytest.fixture
def options(artifact_folder: Path) -> list[object]:
    return ["fetch", "--artifact", artifact_folder, "--device-class", "alpha", "--format", "torch"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def test_the_selected_subnet_is_exported_here(
    cli: Cli, options: list[object], artifact_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "net.pt2"
    found = cli.json(*options, "--min-accuracy", "0", "--out", out)
    chosen = cli.json("search", artifact_folder, "--device-class", "alpha", "--min-accuracy", "0")
    assert isinstance(found, dict)
    assert isinstance(chosen, dict)
    assert {**found, "version": ""} == {
        "files": [str(out)],
        "subnet": chosen["subnet"],
        "expected_accuracy": chosen["accuracy"],
        "predicted_latency_ms": chosen["latency_ms"],
        "format": "torch",
        "version": "",
        "sha256": hashlib.sha256(out.read_bytes()).hexdigest(),
        "bytes": out.stat().st_size,
        "unchanged": False,
    }
    assert torch.export.load(out).module()(torch.zeros(2, 1, 12, 12)).shape == (2, 10)
    assert names(tmp_path) == [".net.pt2.fetched", "net.pt2"]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--device-class", "gamma"], "device_class: 'gamma' is not known; there are alpha, beta"),
        (["--latency-ms", "-1"], "latency_budget_ms: expected a positive, finite number"),
        (["--latency-ms", "1e-9"], "no subnet takes at most 1e-09 ms on 'alpha'"),
        (["--out", "."], ".: expected a file, something else is there"),
        (["--out", "missing/net"], "missing/net: No such file or directory"),
        (["--target", "127.0.0.1:1"], "--target: the gateway has its own --artifact and --store"),
        (["--artifact", "nowhere"], "artifact nowhere: expected a folder"),
    ],
)
def test_what_cannot_be_is_one_line(
    cli: Cli,
    options: list[object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    extra: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in failed(cli(*options, "--out", "net", *extra))
    assert names(tmp_path) == []


@pytest.mark.parametrize("extra", [["--format", "tflite"], ["--latency-ms", "soon"]])
def test_bad_usage(cli: Cli, options: list[object], extra: list[str]) -> None:
    assert "--help" in failed(cli(*options, "--out", "net", *extra), status=2)


def test_a_missing_package_is_named_and_nothing_left(
    cli: Cli, options: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text("import sys; sys.modules['onnxruntime'] = None\n")
    monkeypatch.setenv("PYTHONPATH", str(hidden))
    said = failed(cli(*options, "--format", "onnx", "--out", tmp_path / "net"))
    assert said == "compofa: format 'onnx' needs onnxruntime: pip install 'compofa[export]'\n"
    assert names(tmp_path) == []


def test_nobody_there(cli: Cli, tmp_path: Path) -> None:
    said = failed(
        cli(
            "fetch", "--device-class", "alpha", "--out", tmp_path / "net", "--target", "127.0.0.1:1"
        )
    )
    assert said.startswith("compofa: 127.0.0.1:1: UNAVAILABLE: ")
    assert names(tmp_path) == []
