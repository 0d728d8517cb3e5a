"""`compofa token new`, as its users meet it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway import cli
from gateway.security.identities import Identity, read_identities


def test_what_is_printed_lets_its_owner_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["token", "new", "edge-7", "--rights", "report,infer", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    (tmp_path / "tokens").write_text(made["line"] + "\n")
    identity = read_identities(tmp_path / "tokens").by_token(made["token"])
    assert identity == Identity("edge-7", frozenset({"infer", "report"}))
    assert made["token"] not in made["line"]
    assert made["line"].endswith(" infer,report")


def test_people_are_told_which_is_which(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["token", "new", "edge-7"]) == 0
    _, token, _, line = capsys.readouterr().out.splitlines()
    assert token.startswith("compofa_edge-7_")
    assert line.startswith("edge-7 sha256:")
    assert line.endswith(" infer")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["Edge 7"], "name: expected at most 63"),
        (["edge-7", "--rights", "admin"], "rights: expected some of infer,fetch,report, got"),
        (["edge-7", "--rights", ""], "rights: expected some of"),
    ],
)
def test_bad_usage_is_one_line_and_status_two(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["token", "new", *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"compofa: {said}")
    assert captured.err.count("\n") == 1
