"""The exit status of a command that runs in the test's own process."""

from __future__ import annotations

from collections.abc import Callable


def exit_status(main: Callable[[list[str]], int], *argv: object) -> int:
    """Also where argparse ends it; -1 where that says no number."""
    try:
        return main([str(argument) for argument in argv])
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else -1
