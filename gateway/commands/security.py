"""The options of `serve` that say who may call: one for each field of the configuration."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from gateway.commands.given_options import given_options
from gateway.security.config import SecurityConfig
from supernet.commandline import UsageError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


def add_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("TLS, callers and their limits")
    for name, field in SecurityConfig.model_fields.items():
        option = f"--{name.replace('_', '-')}"
        if field.annotation is bool:
            group.add_argument(option, action="store_true", default=None, help=field.description)
        else:
            group.add_argument(option, metavar=_metavar(name), help=_help(field))


def security_of(arguments: argparse.Namespace) -> SecurityConfig:
    """What the options give. Raises `UsageError`."""
    from pydantic import ValidationError

    from supernet.validation import first_error

    try:
        return SecurityConfig(**given_options(arguments, SecurityConfig.model_fields))
    except ValidationError as error:
        raise UsageError(first_error(error)) from None


def quieten() -> None:
    """gRPC's core has log lines of its own, which are no JSON, for handshakes and headers that any
    stranger can make go wrong. It reads this when it is imported; whoever runs the gateway may
    have set it."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def _metavar(name: str) -> str:
    return "FILE" if name.startswith("tls_") or name == "tokens" else "N"


def _help(field: FieldInfo) -> str:
    default = "" if field.default is None else f"; {field.default}"
    return f"{field.description}{default}"
