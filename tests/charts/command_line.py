"""What the commands in rendered pods mean to the program that runs them."""

from __future__ import annotations

import argparse

from gateway import cli
from gateway.commands.observing import tracing_of
from gateway.commands.ui import ui_of
from gateway.config import ServerConfig
from tests.charts.rendering import Object


def serve_options() -> frozenset[str]:
    """Every option that `compofa serve` knows."""
    parser = cli.build_parser("compofa")
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return frozenset(commands.choices["serve"]._option_string_actions)


def served(container: Object) -> ServerConfig:
    """What the gateway's own command line makes of the container's arguments."""
    assert container["command"] == ["compofa"]
    arguments = cli.build_parser("compofa").parse_args(container["args"])
    names = ServerConfig.model_fields.keys() & vars(arguments).keys()
    given = {name: getattr(arguments, name) for name in names}
    given |= {"tracing": tracing_of(arguments, {}), "ui": ui_of(arguments)}
    return ServerConfig(**{name: value for name, value in given.items() if value is not None})
