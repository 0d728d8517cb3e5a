"""The gateway's commands, run in the test's own process."""

from __future__ import annotations

import json
import logging

import pytest

from gateway.cli import main
from tests.exit_status import exit_status

Said = tuple[int, str, str]


class Cli:
    """Runs commands in this process and reads what they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *argv: object) -> Said:
        """Exit status, standard output, standard error. Logging is as it was afterwards."""
        loggers = [logging.getLogger(name) for name in (None, "gateway")]
        before = [(logger.handlers[:], logger.level) for logger in loggers]
        try:
            status = exit_status(main, *argv)
        finally:
            for logger, (handlers, level) in zip(loggers, before, strict=True):
                logger.handlers[:] = handlers
                logger.setLevel(level)
        said = self._capsys.readouterr()
        return status, said.out, said.err

    def json(self, *argv: object) -> object:
        status, out, err = self(*argv, "--json")
        assert (status, err) == (0, "")
        return json.loads(out)


def failed(said: Said, status: int = 1) -> str:
    """The one line that a command that failed has said."""
    assert said[0] == status
    assert said[1] == ""
    assert said[2].count("\n") == 1
    return said[2]
