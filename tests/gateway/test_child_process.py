from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.child_process import environment, yield_to_requests


def test_a_process_has_one_thread_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert environment()["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert environment()["OMP_NUM_THREADS"] == "4"


def test_this_project_s_code_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    root, _, rest = environment()["PYTHONPATH"].partition(os.pathsep)
    assert (Path(root) / "training" / "__main__.py").exists()
    assert rest == "elsewhere"


def test_a_process_yields_and_one_that_has_ended_is_no_error() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield_to_requests(process.pid)
        given = os.getpriority(os.PRIO_PROCESS, process.pid)
        assert given == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
        process.communicate(b"\n")
    yield_to_requests(process.pid)
