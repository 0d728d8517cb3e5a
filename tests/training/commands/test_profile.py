"""`compofa profile` as its users meet it: where tables go, and what is refused before measuring."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import compofa
from supernet.latency import read_bundled_tables, read_table
from supernet.manifest import read_manifest
from supernet.transfer import pick
from tests.exit_status import exit_status
from training import cli
from training.commands import profile
from training.profiles.portable.check import Check


def _run(*argv: object) -> int:
    return exit_status(compofa.main, "profile", *argv)


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPOFA_STATE_DIR", str(tmp_path / "state"))


def test_a_table_goes_to_the_store_or_to_a_file(
    artifact_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = [artifact_folder, "--device-class", "here", "--runs", 1, "--default-budget-ms", 7]
    assert _run(*own) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("device class 'here': version 1 is current\n", "")
    out = tmp_path / "table.json"
    assert _run(*own, "--out", out, "--batch-size", 2, "--subnet", "d2-2@12") == 0
    assert capsys.readouterr() == ("", "")
    table = read_table(out)
    assert list(table.latency_ms) == ["d2-2@12"]
    assert (table.default_budget_ms, table.conditions["batch_size"]) == (7.0, "2")


def test_a_few_measurements_here_and_another_class_make_a_table(
    artifact_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "table.json"
    few = ["--from-class", "alpha", "--measurements", 5, "--runs", 50]  # of a tenth of a ms
    assert _run(artifact_folder, "--device-class", "new", *few, "--out", out) == 0
    table, alpha = read_table(out), read_bundled_tables(artifact_folder)[0]
    assert table.latency_ms.keys() == alpha.latency_ms.keys()
    assert (table.device_class, table.kind, table.measured) == ("new", "transferred", False)
    assert table.source == "transferred from alpha by 5 measurements"
    assert table.conditions["engine"].startswith("torch ")
    assert table.conditions["from"] == "alpha"


def test_a_folder_for_another_device(
    artifact_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "nets"
    few = ["--from-class", "alpha", "--measurements", 4]
    assert _run(artifact_folder, "--export", out, *few) == 0
    command = f"python3 {out}/measure.pyz --device-class NAME --out table.json\n"
    assert capsys.readouterr() == (command, "")
    document = json.loads((out / "nets.json").read_text())
    alpha = read_bundled_tables(artifact_folder)[0]
    space = read_manifest(artifact_folder).design_space
    assert list(document["subnets"]) == pick(space, alpha.latency_ms, 4)


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ([], 2, "one of the arguments --device-class --export is required"),
        (["--device-class", "a b"], 1, "device class 'a b': expected letters"),
        (["--device-class", "a", "--export", "b"], 2, "not allowed with"),
        (["--device-class", "a", "--out", "none/t.json"], 1, "--out none/t.json: there is no such"),
        (["--device-class", "a", "--by", "piece"], 1, "expected at least 12 subnets a resolution"),
        (["--device-class", "a", "--subnet", "d2-2@13"], 1, "subnet d2-2@13: expected a resolut"),
        (["--device-class", "a", "--threads", "1000"], 1, "threads: expected at most"),
        (["--device-class", "a", "--threads", "0"], 2, "'0': expected a whole number from 1"),
        (["--device-class", "a", "--engine", "tpu"], 2, "invalid choice: 'tpu'"),
        (
            ["--device-class", "a", "--engine", "onnxruntime", "--precision", "bfloat16"],
            1,
            "precision 'bfloat16': the engine 'onnxruntime' has float32",
        ),
        (["--device-class", "a", "--from-class", "x"], 1, "'x': is not known; there are alpha, b"),
        (
            ["--device-class", "a", "--from-class", "alpha", "--by", "subnet"],
            1,
            "--from-class: picks its subnets, without --subnet and --by",
        ),
        (
            ["--device-class", "a", "--from-class", "alpha", "--measurements", "2"],
            1,
            "expected from 3 to 18 subnets to measure, got 2",
        ),
        (
            ["--device-class", "a", "--measurements", "5"],
            1,
            "--measurements: goes with --from-class",
        ),
        (["--export", "."], 1, "--export .: something is there"),
    ],
)
def test_bad_input_is_one_line(
    artifact_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    status: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert _run(artifact_folder, *options) == status
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert said.err.count("\n") == 1


def test_without_a_store_a_file_is_asked_for(
    artifact_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ["profile", str(artifact_folder), "--device-class", "here"]
    assert cli.main(own) == 1
    assert "--out: expected the file to write" in capsys.readouterr().err
    assert cli.main([*own, "--out", "t.json", "--from-class", "alpha"]) == 1
    assert "by the command 'compofa profile'" in capsys.readouterr().err


def test_pieces_that_say_little_are_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    profile.say(Check(0.5, 0.051, 0.2, 12))
    said = capsys.readouterr()
    assert said.out.startswith("sums of pieces: rank correlation 0.500, mean error 5.1%")
    assert said.err == "compofa: the sums are far off: measure with --by subnet\n"
    profile.say(Check(0.99, 0.05, 0.2, 12))
    assert capsys.readouterr().err == ""
