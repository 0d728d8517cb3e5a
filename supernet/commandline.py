"""What every command of the project shares: one-line errors and their exit status."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from supernet.masking import masked

Command = Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line on standard error and exit status 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {masked(message)}; try '{self.prog} --help'\n")


class UsageError(ValueError):
    """What was asked for makes no sense as it is: one line, and exit status 2."""


def run(command: Command, arguments: argparse.Namespace) -> int:
    """Run a command; what the user can mend becomes one line and exit status 1, or 2 where the
    command itself was wrong.

    Anything else is a bug of ours and keeps its traceback.
    """
    try:
        status = command(arguments)
        sys.stdout.flush()  # here, where a reader that has gone is not a traceback
        return status
    except BrokenPipeError:  # the reader of our output has gone, for instance `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return fail(f"{where}{error.strerror or error}")
    except UsageError as error:
        warn(str(error))
        return 2
    except ValueError as error:
        return fail(str(error))


def fail(message: str) -> int:
    """Say what is wrong in one line; the exit status to return."""
    warn(message)
    return 1


def warn(message: str) -> None:
    """One line on standard error."""
    print(f"compofa: {masked(' '.join(message.split()))}", file=sys.stderr)
