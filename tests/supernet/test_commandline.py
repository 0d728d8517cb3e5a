"""What the user can mend is one line and status 1; a bug of ours keeps its traceback."""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace

import pytest

from supernet.commandline import Parser, fail, run


def raising(error: BaseException) -> int:
    def command(_arguments: Namespace) -> int:
        raise error

    return run(command, Namespace())


@pytest.mark.parametrize("status", [0, 1])
def test_a_command_gives_its_own_status(status: int) -> None:
    assert run(lambda arguments: arguments.status, Namespace(status=status)) == status


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("budget 'x': expected\n  a number"), "budget 'x': expected a number"),
        (FileNotFoundError(2, "No such file or directory", "a.png"),
         "a.png: No such file or directory"),
        (IsADirectoryError(21, "Is a directory", "folder"), "folder: Is a directory"),
        (OSError("port 50051 is taken"), "port 50051 is taken"),
    ],
)  # fmt: skip
def test_a_users_mistake_is_one_line(
    error: Exception, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert raising(error) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"compofa: {line}\n"


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(AssertionError):
        raising(AssertionError("ours"))


def test_an_interrupt_has_the_shells_status() -> None:
    assert raising(KeyboardInterrupt()) == 130


def test_fail_returns_what_to_exit_with(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail("a\n\tb") == 1
    assert capsys.readouterr().err == "compofa: a b\n"


@pytest.mark.parametrize("arguments", [[], ["--level", "high"], ["--level", "1", "--colour"]])
def test_bad_usage_is_one_line_and_status_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    parser = Parser(prog="compofa thing")
    parser.add_argument("--level", type=int, required=True)
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(arguments)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("compofa thing: ")
    assert err.endswith("; try 'compofa thing --help'\n")
    assert err.count("\n") == 1


def test_a_reader_that_has_gone_is_no_traceback() -> None:
    script = (
        "from argparse import Namespace\n"
        "from supernet.commandline import run\n"
        "def many(_):\n"
        "    for _ in range(100_000): print('line')\n"
        "    return 0\n"
        "raise SystemExit(run(many, Namespace()))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=30) == 1
