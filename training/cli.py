"""The training side's command line: each theme's commands are in a module of their own."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from supernet.commandline import Parser
from supernet.commandline import run as run_command
from supernet.latency import LatencyTable
from training.commands import evaluate, export, import_ofa, profile, train

Deliver = Callable[[LatencyTable], str]
"""Puts a measured table where it is used from, and says where that is."""
LookUp = Callable[[Path, str], LatencyTable]
"""The current table of a device class of the artifact in a folder."""
Family = Callable[[Path], tuple[str, dict[str, bytes]]]
"""What an archive of all subnets holds besides them: the handler's name, and all files by name."""


def main(
    argv: Sequence[str],
    prog: str = "compofa",
    deliver: Deliver | None = None,
    look_up: LookUp | None = None,
    family: Family | None = None,
) -> int:
    """Run one command; `argv` begins with its name. Returns the exit status.

    `deliver` takes the table of `profile` where no file is named, and `look_up` finds the one that
    it is told from where that is asked for: stores are not this side's. `family` has what chooses
    among all subnets, for `export`: that is not this side's either.
    """
    parser = Parser(prog=prog, description=__doc__)
    commands = parser.add_subparsers(required=True, parser_class=Parser, metavar="COMMAND")
    for theme in (train, import_ofa, evaluate, profile, export):
        theme.add_parsers(commands)
    given = argparse.Namespace(deliver=deliver, look_up=look_up, family=family)
    arguments = parser.parse_args(argv, given)
    return run_command(arguments.command, arguments)
