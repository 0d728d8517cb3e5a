"""A folder of exported nets measures a device that has Python, numpy, ONNX Runtime, and no more."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import pytest

from gateway.stores.table_formats import Target, read_json
from supernet.artifact import Artifact
from supernet.catalog import Catalog, CatalogEntry
from tests.exit_status import exit_status
from tests.full_disk import files_at_most
from training.profiles.device_folder import SCRIPT_FILE, write_device_folder
from training.profiles.portable.onnx_nets import NETS_FILE
from training.profiles.portable.script import main
from training.profiles.portable.table import write_table
from training.profiles.profile import by_piece, by_subnet

Change = Callable[[Path], object]
ALONE = """
import runpy, sys
sys.path += {packages}
sys.argv = {arguments}
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as stop:
    status = stop.code
print("\\n", *sys.modules)
sys.exit(status)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, cubic: Artifact) -> Path:
    """The pieces of 54 subnets. Shared: copy it to change it."""
    folder = tmp_path_factory.mktemp("device") / "nets"
    plan = by_piece(cubic.supernet, cubic.supernet.space.enumerate())
    write_device_folder(folder, cubic, plan, batch_size=2)
    return folder


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A place to import from with two packages and nothing else."""
    place = tmp_path / "packages"
    place.mkdir()
    for module in (np, onnxruntime):
        home = Path(str(module.__file__)).parent
        for part in home.parent.glob(f"{home.name}*"):  # with the libraries beside it
            (place / part.name).symlink_to(part)
    return place


def test_it_runs_alone_and_its_table_is_imported(
    folder: Path, packages: Path, cubic: Artifact, tmp_path: Path
) -> None:
    out = tmp_path / "table.json"
    code = ALONE.format(
        packages=[str(packages)],
        arguments=[str(folder / SCRIPT_FILE), "--device-class", "board", "--out", str(out),
                   "--runs", "3"],
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        capture_output=True, text=True, timeout=100, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    said, modules = done.stdout.rsplit("\n", 2)[:2]
    assert said.startswith(f"{out}: 54 subnets\nsums of pieces: rank correlation ")
    assert f"tables import {out} --format json --device-class board" in said
    imported = {name.partition(".")[0] for name in modules.split()}
    assert imported >= {"numpy", "onnxruntime", "portable"}
    assert not imported & {"supernet", "training", "gateway", "protos", "compofa", "torch", "onnx"}

    entries = [
        CatalogEntry(subnet=arch.id, accuracy=0.5, macs=1, parameters=1)
        for arch in cubic.supernet.space.enumerate()
    ]
    manifest = cubic.manifest.model_copy(update={"catalog": Catalog(entries=tuple(entries))})
    table = read_json(out, Target(manifest, "board", None))
    assert len(table.latency_ms) == 54
    assert (table.kind, table.measured) == ("measured", True)
    assert table.conditions["engine"] == f"onnxruntime {onnxruntime.__version__}"
    assert table.conditions["batch_size"] == "2"
    assert "on 12 held-out subnets" in table.conditions["held_out"]


def test_the_script_is_written_in_the_python_of_old_devices(folder: Path) -> None:
    with zipfile.ZipFile(folder / SCRIPT_FILE) as archive:
        sources = {name: archive.read(name).decode() for name in archive.namelist()}
    assert {"__main__.py", "portable/script.py", "portable/timing.py"} <= sources.keys()
    for name, source in sources.items():
        tree = ast.parse(source, name, feature_version=(3, 8))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level == 0 and name != "__main__.py":
                package = str(node.module).partition(".")[0]
                assert package in sys.stdlib_module_names, f"{name} imports {node.module}"


def test_every_subnet_whole_at_the_batch_size_asked_for(cubic: Artifact, tmp_path: Path) -> None:
    space, out = cubic.supernet.space, tmp_path / "table.json"
    plan = by_subnet(cubic.supernet, [space.smallest, space.smallest.at(24), space.largest])
    done: list[float] = []
    write_device_folder(tmp_path / "nets", cubic, plan, 4, done.append)
    assert sum(done) == 3
    assert len(list((tmp_path / "nets").glob("*.onnx"))) == 2  # one for both resolutions
    arguments = [tmp_path / "nets", "--device-class", "board", "--out", out, "--runs", "3"]
    assert main(list(map(str, arguments))) == 0
    table = json.loads(out.read_text())
    assert list(table["latency_ms"]) == list(table["p95_ms"]) == sorted(plan.subnets)
    assert table["latency_ms"]["d3-3-3@24"] > table["latency_ms"]["d1-1-1@16"]


def test_the_table_goes_through_links_and_pipes(tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text("old")
    (tmp_path / "link.json").symlink_to("table.json")
    write_table(tmp_path / "link.json", {"a": 1})
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "table.json").read_text()) == {"a": 1}
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_table(pipe, {"b": 2})
    assert json.loads(os.read(reading, 1000)) == {"b": 2}
    os.close(reading)
    assert pipe.is_fifo()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.json", "pipe", "table.json"]


def test_what_is_there_is_not_overwritten(cubic: Artifact, tmp_path: Path) -> None:
    plan = by_subnet(cubic.supernet, [cubic.supernet.space.smallest])
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file"):
        with pytest.raises(ValueError, match=f"--export {place}: something is there"):
            write_device_folder(place, cubic, plan, 1)


def _document(change: Callable[[dict[str, Any]], object]) -> Change:
    def rewrite(folder: Path) -> None:
        path = folder / NETS_FILE
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return rewrite


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / NETS_FILE).unlink(), "nets.json: No such file"),
        (lambda folder: (folder / NETS_FILE).write_text("["), "nets.json: not what 'compofa"),
        (lambda folder: (folder / NETS_FILE).write_text("[]"), "nets.json: not what 'compofa"),
        (lambda folder: (folder / NETS_FILE).write_text("[" * 10**5), "nets.json: not what"),
        (lambda folder: (folder / NETS_FILE).write_bytes(b"\xff"), "nets.json: not what"),
        (_document(lambda d: d.update(format="x")), "format: expected 'compofa-nets-1', got 'x'"),
        (_document(lambda d: d.pop("subnets")), "nets.json: there is no 'subnets'"),
        (_document(lambda d: d.update(subnets={})), "subnets: expected some"),
        (_document(lambda d: d["files"].pop()), "nets.json: there is no ("),
        (_document(lambda d: d.update(held_out=["d9"])), "nets.json: there is no 'd9'"),
        (_document(lambda d: d.update(held_out=[])), "held_out: expected at least two"),
        (_document(lambda d: d.update(fitted=d["fitted"][:3])), "fitted: expected at least two"),
        (_document(lambda d: d["files"][0].update(shapes={"16": "x"})), "nets.json: not what"),
        (_document(lambda d: d["files"][0].update(shapes={"24": [1, 1, 1, 1]})), "no '16'"),
        (_document(lambda d: d["files"][0].update(file="../x")), "file: expected a name"),
        (lambda folder: (folder / "stem.onnx").unlink(), "stem.onnx: No such file"),
        (lambda folder: (folder / "stem.onnx").write_bytes(b"x"), "stem.onnx: truncated or"),
        (
            _document(lambda d: d["files"][0]["shapes"].update({"16": [2, 5, 16, 16]})),
            "ONNX Runtime does not take the net",
        ),
    ],
)
def test_a_bad_folder_is_one_line(
    folder: Path,
    tmp_path: Path,
    change: Change,
    message: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    copy = tmp_path / "nets"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    change(copy)
    out = tmp_path / "table.json"
    assert main([str(copy), "--device-class", "board", "--out", str(out), "--runs", "1"]) == 1
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith("measure: ")
    assert message in said.err
    assert said.err.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"--device-class": "a b"}, 1, "device class 'a b': expected letters"),
        ({"--out": "none/table.json"}, 1, "--out none/table.json: expected a file in a folder"),
        ({"--out": "."}, 1, "--out .: expected a file in a folder"),
        ({"--threads": "1000"}, 1, "threads: expected at most"),
        ({"--provider": "Moon"}, 1, "--provider Moon: expected one of "),
        ({"--runs": "0"}, 2, "'0': expected a whole number from 1"),
    ],
)
def test_bad_options_are_one_line(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    changes: dict[str, str],
    status: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"--device-class": "board", "--out": "table.json", **changes}
    found = exit_status(main, folder, *(word for pair in given.items() for word in pair))
    said = capfd.readouterr()
    assert (found, said.out) == (status, "")
    assert message in said.err
    assert said.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_package_that_is_missing(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not installed
    assert main([str(folder), "--device-class", "b", "--out", str(tmp_path / "t")]) == 1
    assert "needs onnxruntime: " in capsys.readouterr().err


def test_a_full_disk_leaves_the_old_table(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "table.json"
    out.write_text("old")
    with files_at_most(1000):
        status = main([str(folder), "--device-class", "b", "--out", str(out), "--runs", "1"])
    assert status == 1
    assert "File too large" in capfd.readouterr().err
    assert out.read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]
