"""Where commands take credentials from, and that none comes from the command line itself."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from gateway import cli
from gateway.commands.credentials import add_options, credentials_of
from gateway.credentials import Credentials


def parsed(*options: str) -> Credentials:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return credentials_of(parser.parse_args(options))


@pytest.fixture(autouse=True)
def _no_credentials_of_one_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TLS_CA", "TLS_CERT", "TLS_KEY", "TOKEN", "TOKEN_FILE"):
        monkeypatch.delenv(f"COMPOFA_{name}", raising=False)


def test_by_default_there_are_none() -> None:
    assert parsed() == Credentials()
    assert parsed("--tls") == Credentials(tls=True)


def test_options_come_before_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("of-file\n")
    monkeypatch.setenv("COMPOFA_TLS_CA", "env-ca.pem")
    monkeypatch.setenv("COMPOFA_TOKEN", "of-environment")
    assert parsed() == Credentials(ca=Path("env-ca.pem"), token="of-environment")
    given = parsed("--tls-ca", "ca.pem", "--token-file", str(file))
    assert given == Credentials(ca=Path("ca.pem"), token="of-file")
    monkeypatch.delenv("COMPOFA_TOKEN")
    monkeypatch.setenv("COMPOFA_TOKEN_FILE", str(file))
    assert parsed().token == "of-file"


@pytest.mark.parametrize("command", ["infer", "fetch", "serve"])
def test_no_option_takes_a_token_and_help_shows_none(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMPOFA_TOKEN", "s3cret")
    monkeypatch.setenv("COMPOFA_STORE", "redis://:s3cret@host")
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    said = capsys.readouterr().out
    assert "s3cret" not in said
    assert "--token " not in said
    assert "--tls-c" in said


@pytest.mark.parametrize("command", ["infer image.png", "fetch --out net.onnx"])
def test_credentials_without_a_gateway_to_show_them_to_are_a_mistake(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [*command.split(), "--device-class", "alpha", "--token-file", "token"]
    assert cli.main(argv) == 2
    assert capsys.readouterr().err == "compofa: --token-file: has no meaning without --target\n"
