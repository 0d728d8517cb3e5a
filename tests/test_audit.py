"""What `make audit` makes of pip-audit's findings: what was not looked up is never sound."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "audit.py"
SOUND: dict[str, Any] = {"name": "idna", "version": "3.20", "vulns": []}
VULNERABLE: dict[str, Any] = {
    "name": "requests",
    "version": "2.31.0",
    "vulns": [{"id": "GHSA-9wx4-h78v-vm56", "fix_versions": ["2.32.0"], "aliases": []}],
}
SKIPPED: dict[str, Any] = {
    "name": "grpcio",
    "skip_reason": "Dependency not found on PyPI and could not be audited: grpcio (1.85.1)",
}


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("found", "status", "said"),
    [
        ([SOUND, SOUND], 0, "nothing is known against any of 2 packages"),
        ([SOUND, VULNERABLE], 1, "requests 2.31.0: GHSA-9wx4-h78v-vm56, mended in 2.32.0"),
        ([SKIPPED, VULNERABLE], 1, "1 of 2 packages are known to be vulnerable"),
        ([SOUND, SKIPPED], 2, "NOT DONE, nothing is known of the dependencies: 1 of 2 packages"),
        ([SKIPPED] * 9, 2, "9 of 9 packages are unknown to it: grpcio, grpcio"),
    ],
)
def test_what_came_out(
    audit: ModuleType,
    found: list[dict[str, Any]],
    status: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert audit.report(found) == status
    captured = capsys.readouterr()
    assert said in captured.out + captured.err


def test_a_tool_that_fails_is_not_taken_for_a_sound_answer(
    audit: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = tmp_path / "pip-audit"
    failing.write_text("#!/bin/sh\necho 'no route to host' >&2\nexit 1\n")
    failing.chmod(0o755)
    assert os.access(failing, os.X_OK)
    assert audit.main(str(failing)) == 2
    assert "NOT DONE" in capsys.readouterr().err
