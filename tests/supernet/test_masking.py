"""What is hidden in text that others read, and what stays."""

from __future__ import annotations

import argparse
import time

import pytest

from gateway.security.tokens import new_token
from supernet.commandline import Parser, UsageError, run
from supernet.masking import masked


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("store redis://me:s3cret@host:6379/0 is away", "store redis://***@host:6379/0 is away"),
        ("rediss+sentinel://:p@ss/w0rd@a,b/t", "rediss+sentinel://***@a,b/t"),
        ("'redis://h?password=s3cret&db=1'", "'redis://h?password=***&db=1'"),
        ("redis+sentinel://a/t?sentinel_password=s3cret", "redis+sentinel://a/t?sentinel_password=***"),
        ("authorization: Bearer abc.def", "authorization: Bearer ***"),
        ("redis://host:6379/0 and mail@host", "redis://host:6379/0 and mail@host"),
        ("compofa: no such device class", "compofa: no such device class"),
    ],
)  # fmt: skip
def test_secrets_are_hidden_and_the_rest_stays(text: str, shown: str) -> None:
    assert masked(text) == shown
    assert masked(shown) == shown


def test_a_token_of_ours_keeps_its_name() -> None:
    token = new_token("edge-7")
    assert masked(f"got {token!r}") == "got 'compofa_edge-7_***'"


def test_neither_usage_nor_failure_shows_a_password(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        Parser(prog="compofa").parse_args(["--stroe", "redis://:s3cret@host"])

    def fail(_: argparse.Namespace) -> int:
        raise ValueError("table store redis://:s3cret@host: no answer")

    assert run(fail, argparse.Namespace()) == 1
    said = capsys.readouterr().err
    assert "s3cret" not in said
    assert said.count("redis://***@host") == 2


def test_a_usage_error_is_one_line_and_status_two(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: argparse.Namespace) -> int:
        raise UsageError("tls_key: expected\nanother")

    assert run(fail, argparse.Namespace()) == 2
    assert capsys.readouterr().err == "compofa: tls_key: expected another\n"


@pytest.mark.parametrize("part", ["a", "a:", "://", "@", "a://", "compofa_a", "token=", "bearer "])
def test_a_long_text_takes_no_longer_than_its_length(part: str) -> None:
    """Quadratic time would be minutes; who sends a request chooses what is logged of it."""
    began = time.process_time()
    masked(part * (1_000_000 // len(part)))
    assert time.process_time() - began < 2.0
