"""The command line as its users meet it: processes, their output and their exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from PIL import Image

from gateway.stores.embedded_store import LOOK_EVERY_S
from gateway.stores.table_file import TableFile
from supernet.latency import read_bundled_tables


class Running(Protocol):
    """What these tests use of a gateway."""

    @property
    def target(self) -> str: ...


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    Image.fromarray(np.full((16, 16), 90, np.uint8)).save(path)
    return path


def compofa(
    *argv: object, module: str = "compofa", state: Path | None = None
) -> subprocess.CompletedProcess[str]:
    own = {"COMPOFA_STATE_DIR": str(state)} if state else {}
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, argv)],
        capture_output=True, text=True, timeout=90, check=False, env=os.environ | own,
    )  # fmt: skip


@pytest.mark.parametrize("module", ["compofa", "gateway"])
def test_search_prints_one_document(artifact_folder: Path, tmp_path: Path, module: str) -> None:
    options = ["--device-class", "alpha", "--json"]
    done = compofa("search", artifact_folder, *options, module=module, state=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["subnet"] == "d4-4@16"


def test_failures_are_one_line(artifact_folder: Path, tmp_path: Path) -> None:
    done = compofa("search", artifact_folder, "--device-class", "gamma", state=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "compofa: device_class: 'gamma' is not known; there are alpha, beta\n"


def test_a_reader_that_goes_early_is_no_failure_to_report(artifact_folder: Path) -> None:
    command = [sys.executable, "-m", "compofa", "tables", "export", "--artifact"]
    with subprocess.Popen(
        [*command, str(artifact_folder), "--device-class", "alpha"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()


def test_infer_by_a_gateway_equals_infer_here(
    gateway: Running, artifact_folder: Path, image: Path, tmp_path: Path
) -> None:
    options = ["--device-class", "beta", "--json"]
    target = gateway.target
    there = compofa("infer", image, image, *options, "--target", target)
    here = compofa("infer", image, image, *options, "--artifact", artifact_folder, state=tmp_path)
    assert (there.returncode, there.stderr) == (0, "")
    assert (here.returncode, here.stderr) == (0, "")
    stable = ("subnet", "class", "label", "expected_accuracy", "predicted_latency_ms", "degraded")
    answers = [[{k: a[k] for k in stable} for a in json.loads(d.stdout)] for d in (there, here)]
    assert len(answers[0]) == 2
    assert answers[0] == answers[1]


def test_a_gateway_that_refuses_is_quoted(gateway: Running, image: Path) -> None:
    target = gateway.target
    done = compofa("infer", image, "--device-class", "gamma", "--target", target)
    assert (done.returncode, done.stdout) == (1, "")
    assert "NOT_FOUND: device_class: 'gamma' is not known" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_push_reaches_a_running_gateway(
    start: Callable[..., Running], artifact_folder: Path, image: Path, tmp_path: Path
) -> None:
    store = tmp_path / "shared.sqlite3"
    running = start("--store", f"sqlite://{store}")
    table = read_bundled_tables(artifact_folder)[0]
    ask = ["infer", image, "--device-class", "phone", "--json", "--target", running.target]
    assert "NOT_FOUND" in compofa(*ask).stderr
    TableFile(store).put(table.scaled(1.0, "phone", default_budget_ms=1e6))
    time.sleep(2 * LOOK_EVERY_S)
    done = compofa(*ask)
    assert json.loads(done.stdout)[0]["subnet"] == "d4-4@16"
