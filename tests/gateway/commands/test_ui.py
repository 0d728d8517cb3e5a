from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from gateway.commands import ui
from tests.gateway.command_line import Cli, failed


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


def test_options_without_the_page_have_no_meaning(cli: Cli, artifact_folder: Path) -> None:
    said = failed(cli("serve", artifact_folder, "--ui-port", "8081"), status=2)
    assert said == "compofa: --ui-port: has no meaning without --ui\n"
    said = failed(cli("serve", artifact_folder, "--ui-max-viewers", "2"), status=2)
    assert said == "compofa: --ui-max-viewers: has no meaning without --ui\n"


def test_values_that_make_no_sense(cli: Cli, artifact_folder: Path) -> None:
    serve = ("serve", artifact_folder, "--ui")
    assert "ui.port: " in failed(cli(*serve, "--ui-port", "70000"))
    assert "ui.max_viewers: " in failed(cli(*serve, "--ui-max-viewers", "0"))
    same = failed(cli(*serve, "--ui-port", "9090"))
    assert "ui.port 9090: expected another than port, metrics_port and health_port" in same
    assert "--help" in failed(cli(*serve, "--ui-port", "soon"), status=2)


def test_what_is_not_installed_is_named(
    cli: Cli, artifact_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(ui, "find_spec", lambda name: None if name == "aiohttp" else found(name))
    said = failed(cli("serve", artifact_folder, "--ui"), status=2)
    assert said == "compofa: --ui: aiohttp is not installed; install the extra 'ui'\n"
