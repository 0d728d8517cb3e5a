"""The options of `serve` that say what can be seen of it from outside: traces and debug pages."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from gateway.commands.given_options import given_options
from gateway.tracing.config import TracingConfig, is_asked_for, is_switched_off
from supernet.commandline import UsageError

_METAVARS = {"trace_endpoint": "URL", "trace_sample": "RATIO"}


def add_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("looking into it")
    for name, field in TracingConfig.model_fields.items():
        option = f"--{name.replace('_', '-')}"
        group.add_argument(option, metavar=_METAVARS[name], help=field.description)
    group.add_argument(
        "--debug",
        action="store_true",
        default=None,
        help="answer /debug beside /metrics, to this machine alone: stacks, tasks, queue, tables, "
        "engine, a profile, the log level",
    )


def tracing_of(arguments: argparse.Namespace, environ: Mapping[str, str]) -> TracingConfig | None:
    """What the options give, or the variables; None where neither asks for traces. Raises
    `UsageError`."""
    from pydantic import ValidationError

    from supernet.validation import first_error

    given = given_options(arguments, TracingConfig.model_fields)
    if arguments.trace_endpoint is None and not is_asked_for(environ):
        if given:
            raise UsageError(
                f"--{next(iter(given)).replace('_', '-')}: expected --trace-endpoint with it, or "
                "OTEL_EXPORTER_OTLP_ENDPOINT"
            )
        return None
    try:
        config = TracingConfig(**given)
    except ValidationError as error:
        raise UsageError(first_error(error)) from None
    return None if is_switched_off(environ) else config
