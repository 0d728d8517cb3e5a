"""The gateway's commands: what `compofa` and `python -m gateway` run.

Each command imports what it needs when it runs, so that a search over the catalog starts at
once, without torch.
"""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import GatewayError
from supernet.commandline import Parser, UsageError, run

if TYPE_CHECKING:
    from rich.console import Console

    from gateway.config import ServerConfig
    from gateway.device_classes import DeviceClasses
    from gateway.request import Constraints

    Commands = argparse._SubParsersAction[Parser]

WIDTH = 140  # columns of a table that is not read on a terminal


def main(argv: list[str], prog: str = "compofa") -> int:
    """Run the command `argv[0]`; the exit status."""
    arguments = build_parser(prog).parse_args(argv)
    logging.basicConfig(format="compofa: %(message)s")  # for warnings; `serve` has its own
    return run(_answer, arguments)


def build_parser(prog: str) -> Parser:
    """Every command of the gateway, with its options."""
    from gateway.commands import fetch as cli_fetch
    from gateway.commands import plan as cli_plan
    from gateway.commands import search as cli_search
    from gateway.commands import tables as cli_tables
    from gateway.commands import token as cli_token

    parser = Parser(prog=prog, description="Serve the subnets of a trained supernet.")
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=Parser
    )
    cli_search.add_command(commands)
    cli_tables.add_commands(commands)
    _add_serve(commands)
    _add_infer(commands)
    cli_fetch.add_command(commands)
    cli_plan.add_command(commands)
    cli_token.add_commands(commands)
    _add_demo(commands)
    return parser


def add_constraints(parser: argparse.ArgumentParser) -> None:
    """The options that say what a request asks for."""
    parser.add_argument("--device-class", required=True, metavar="NAME")
    parser.add_argument("--latency-ms", type=float, metavar="X", help="budget on that device")
    parser.add_argument("--min-accuracy", type=float, metavar="Y", help="from 0 to 1")


def add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store",
        metavar="URL",
        help="latency tables, as sqlite:///path or redis://host; by default COMPOFA_STORE or a "
        "file in your state folder",
    )


def add_engine(parser: argparse.ArgumentParser) -> None:
    """The options that say what runs batches, and how many requests wait for it."""
    parser.add_argument("--max-batch", type=int, help="most rows in one tensor")
    parser.add_argument("--max-pending", type=int, help="most requests waiting or running")
    parser.add_argument("--max-resident-mib", type=int, help="weights of subnets compiled whole")
    engines = ("auto", "onnxruntime", "openvino", "torch")
    parser.add_argument("--engine", choices=engines, help="auto by default: the fastest here")
    parser.add_argument("--precision", choices=("f32", "bf16"), help="f32 by default")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda or cuda:1; a GPU if there is")
    parser.add_argument("--compile-cache", type=Path, metavar="DIR", help="for a faster start")
    parser.add_argument("--workers", type=int, help="batches at once; by default what cores allow")
    parser.add_argument("--threads", type=int, help="cores for one batch; by default 1 or 2")
    parser.add_argument(
        "--processes",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="run batches in a process for each worker; by default on a CPU, of folded nets",
    )


def server_config(arguments: argparse.Namespace, **more: object) -> ServerConfig:
    """What the options say and `more`; what is not given keeps its default. Raises `ValueError`."""
    from pydantic import ValidationError

    from gateway.config import MIB, ServerConfig
    from supernet.validation import first_error

    given = {
        name: value
        for name, value in vars(arguments).items()
        if name in ServerConfig.model_fields and value is not None
    }
    if arguments.max_resident_mib is not None:
        given["max_resident_bytes"] = arguments.max_resident_mib * MIB
    try:
        return ServerConfig(**given | more)
    except ValidationError as error:
        raise ValueError(first_error(error)) from None


def constraints_of(arguments: argparse.Namespace) -> Constraints:
    """What the options ask for. Raises `InvalidRequest`."""
    from gateway.request import Constraints

    return Constraints(arguments.device_class, arguments.latency_ms, arguments.min_accuracy)


def console() -> Console:
    """Where tables go. What is not a terminal is not 80 columns wide: nothing is cut there."""
    from rich.console import Console

    terminal = Console(markup=False)  # names and sources may hold brackets
    if not terminal.is_terminal:
        terminal.width = max(terminal.width, WIDTH)
    return terminal


def artifact_of(arguments: argparse.Namespace) -> Path:
    """The artifact that `--artifact` names, or the shipped one."""
    return arguments.artifact or shipped_artifact()


def classes_of(arguments: argparse.Namespace) -> DeviceClasses:
    """The device classes there are now, by `--artifact` and `--store`."""
    from gateway.stores.by_url import read_device_classes
    from supernet.manifest import read_manifest

    artifact = artifact_of(arguments)
    return read_device_classes(artifact, read_manifest(artifact), arguments.store)


def shipped_artifact() -> Path:
    """The artifact that comes with the package."""
    from supernet import shipped

    return shipped.artifact_folder()


def _answer(arguments: argparse.Namespace) -> int:
    """Run a parsed command; the gateway's own errors become the user's."""
    try:
        status: int = arguments.run(arguments)
    except GatewayError as error:
        raise ValueError(error.safe_message) from None
    return status


def _add_serve(commands: Commands) -> None:
    from gateway.commands import observing as cli_observing
    from gateway.commands import security as cli_security
    from gateway.commands import ui as cli_ui

    parser = commands.add_parser("serve", help="serve an artifact over gRPC")
    parser.add_argument("artifact", type=Path, metavar="ARTIFACT")
    parser.add_argument("--host", help="127.0.0.1 unless told otherwise")
    parser.add_argument("--port", type=int, help="gRPC, 50051; 0 takes a free one")
    parser.add_argument("--metrics-host", metavar="HOST", help="HTTP; as --host by default")
    parser.add_argument("--metrics-port", type=int, help="HTTP, 9090; 0 takes a free one")
    parser.add_argument("--port-file", type=Path, metavar="FILE", help="written once ready")
    add_store(parser)
    parser.add_argument("--fallback-device-class", metavar="NAME", help="for unknown ones")
    parser.add_argument("--grace-s", type=float, help="how long a drain may take")
    add_engine(parser)
    parser.add_argument("--no-request-logs", action="store_true")
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        help="info by default; while it runs, SIGUSR1 says more and SIGUSR2 less",
    )
    _add_exports(parser)
    _add_learning(parser)
    cli_security.add_options(parser)
    cli_observing.add_options(parser)
    cli_ui.add_options(parser)
    parser.set_defaults(run=serve)


def _add_exports(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("handing out subnets as files")
    group.add_argument("--no-fetch", action="store_true", help="hand out none")
    group.add_argument("--export-cache", type=Path, metavar="DIR", help="by default in your own")
    group.add_argument("--max-export-cache-mib", type=int, metavar="N", help="1024")
    group.add_argument("--max-export-builds", type=int, metavar="N", help="at once, 1")
    group.add_argument("--max-export-build-s", type=float, metavar="S", help="for one, 600")
    group.add_argument("--max-fetches", type=int, metavar="N", help="at once, 64")


def _exports_of(arguments: argparse.Namespace) -> dict[str, object] | None:
    """The fields that the options give. Raises `UsageError` where nothing is handed out."""
    from gateway.config import MIB

    mib = arguments.max_export_cache_mib
    options = {
        "export_cache": ("cache", arguments.export_cache),
        "max_export_cache_mib": ("max_cache_bytes", None if mib is None else mib * MIB),
        "max_export_builds": ("max_builds", arguments.max_export_builds),
        "max_export_build_s": ("max_build_s", arguments.max_export_build_s),
        "max_fetches": ("max_streams", arguments.max_fetches),
    }
    given = {name: value for name, value in options.items() if value[1] is not None}
    if given and arguments.no_fetch:
        option = f"--{next(iter(given)).replace('_', '-')}"
        raise UsageError(f"{option}: has no meaning with --no-fetch")
    return None if arguments.no_fetch else dict(given.values())


def _add_learning(parser: argparse.ArgumentParser) -> None:
    """One option for each field of the configuration."""
    from gateway.config import LearningConfig

    group = parser.add_argument_group("learning latency tables from what clients report")
    group.add_argument("--learn-latency", action="store_true", help="off unless given")
    for name, field in LearningConfig.model_fields.items():
        option = f"--learn-{name.replace('_', '-')}"
        if field.annotation is bool:
            group.add_argument(option, action="store_true", default=None, help=field.description)
        else:
            group.add_argument(option, metavar="X", help=f"{field.description}; {field.default}")


def _learning_of(arguments: argparse.Namespace) -> dict[str, object] | None:
    """The fields that the options give. Raises `UsageError` where learning is off."""
    from gateway.commands.given_options import given_options
    from gateway.config import LearningConfig

    given = given_options(arguments, LearningConfig.model_fields, "learn_")
    if given and not arguments.learn_latency:
        option = f"--learn-{next(iter(given)).replace('_', '-')}"
        raise UsageError(f"{option}: has no meaning without --learn-latency")
    return given if arguments.learn_latency else None


def serve(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    from gateway.commands import observing as cli_observing
    from gateway.commands import security as cli_security
    from gateway.commands import ui as cli_ui

    more = {
        "exports": _exports_of(arguments),
        "learning": _learning_of(arguments),
        "security": cli_security.security_of(arguments),
        "tracing": cli_observing.tracing_of(arguments, os.environ),
        "ui": cli_ui.ui_of(arguments),
        "log_requests": not arguments.no_request_logs,
    }
    cli_security.quieten()
    config = server_config(arguments, **more)
    from gateway import process

    return process.serve(config)


def _add_infer(commands: Commands) -> None:
    from gateway.commands import credentials as cli_credentials

    parser = commands.add_parser("infer", help="classify images, here or by a gateway")
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    add_constraints(parser)
    parser.add_argument("--artifact", type=Path, metavar="DIR", help="the shipped one by default")
    parser.add_argument("--target", metavar="HOST:PORT", help="ask this gateway instead")
    add_store(parser)
    cli_credentials.add_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    parser.set_defaults(run=_infer)


def _infer(arguments: argparse.Namespace) -> int:
    from gateway.commands import infer as cli_infer

    return cli_infer.infer(arguments)


def _add_demo(commands: Commands) -> None:
    parser = commands.add_parser("demo", help="serve the shipped net and answer real images")
    parser.add_argument("--images", type=int, default=100, metavar="N", help="for each class")
    parser.set_defaults(run=_demo)


def _demo(arguments: argparse.Namespace) -> int:
    from gateway.commands import demo

    return demo.run_shipped(arguments.images)
