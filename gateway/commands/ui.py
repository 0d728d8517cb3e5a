"""The options of `serve` that bring the live page."""

from __future__ import annotations

import argparse
from importlib.util import find_spec

from gateway.commands.given_options import given_options
from gateway.ui.config import UiConfig
from supernet.commandline import UsageError


def add_options(parser: argparse.ArgumentParser) -> None:
    """One for each field of the configuration, and one that turns it on."""
    group = parser.add_argument_group("the live page")
    group.add_argument(
        "--ui", action="store_true", help="serve it to this machine; off unless given"
    )
    for name, field in UiConfig.model_fields.items():
        option = f"--ui-{name.replace('_', '-')}"
        help_text = f"{field.description}; {field.default}"
        group.add_argument(option, type=int, metavar="N", help=help_text)


def ui_of(arguments: argparse.Namespace) -> dict[str, object] | None:
    """The fields that the options give; None where there is no page. Raises `UsageError`."""
    given = given_options(arguments, UiConfig.model_fields, "ui_")
    if given and not arguments.ui:
        option = f"--ui-{next(iter(given)).replace('_', '-')}"
        raise UsageError(f"{option}: has no meaning without --ui")
    if arguments.ui and find_spec("aiohttp") is None:
        raise UsageError("--ui: aiohttp is not installed; install the extra 'ui'")
    return given if arguments.ui else None
