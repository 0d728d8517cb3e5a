"""What tests of commands share: a state folder of their own, and a command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway.command_line import Cli


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMPOFA_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)
