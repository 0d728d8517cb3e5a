"""The command line: knows each command and where it lives, and imports that only when called.

The one module that knows training and gateway at once.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from supernet.commandline import Parser
from supernet.version import version

if TYPE_CHECKING:
    from supernet.latency import LatencyTable


class Command(NamedTuple):
    """The module whose `main(argv)` runs a command, and what the command does in one line."""

    module: str
    summary: str


COMMANDS = {
    "demo": Command("gateway.cli", "serve the shipped net and answer real images"),
    "train": Command("training.cli", "train a supernet from a recipe"),
    "fold": Command("training.cli", "give each piece of a net an affine of its own"),
    "import-ofa": Command("training.cli", "turn a public OFA checkpoint into an artifact"),
    "calibrate": Command("training.cli", "measure batch-norm statistics per subnet"),
    "evaluate": Command("training.cli", "measure the accuracy of every subnet"),
    "profile": Command("training.cli", "measure this machine's latency table"),
    "export": Command("training.cli", "write a subnet for another runtime"),
    "tables": Command("gateway.cli", "list, import and roll back latency tables"),
    "search": Command("gateway.cli", "which subnet fits a device and a budget"),
    "serve": Command("gateway.cli", "serve an artifact over gRPC"),
    "infer": Command("gateway.cli", "classify images, here or by a gateway"),
    "fetch": Command("gateway.cli", "the subnet for a device as a file"),
    "plan": Command("gateway.cli", "how many gateways a traffic and its deadline need"),
    "token": Command("gateway.cli", "make a token that lets a caller in"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in COMMANDS:
        module = importlib.import_module(COMMANDS[arguments[0]].module)
        # Training knows neither stores nor selection, so these are handed over here.
        more: dict[str, dict[str, Any]] = {
            "profile": {"deliver": _into_store, "look_up": _from_store},
            "export": {"family": _family},
        }
        status: int = module.main(arguments, **more.get(arguments[0], {}))
        return status
    parser = build_parser()
    parser.parse_args(arguments)
    parser.error("expected the command first")


def build_parser() -> Parser:
    """What `compofa` says of itself; the commands' own options are with the commands."""
    parser = Parser(
        prog="compofa",
        description="Train one shared-weight supernet, and serve from it, per request, the most "
        "accurate subnet that meets the caller's latency on the caller's class of device.",
    )
    parser.add_argument("--version", action="version", version=f"compofa {version()}")
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", title="commands", parser_class=Parser
    )
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.summary, add_help=False)
    return parser


def _into_store(table: LatencyTable) -> str:
    """Make a measured table the current one of its device class in the default store."""
    from gateway.stores.by_url import ask, signed

    version = ask(None, lambda store: store.put(signed(table)))
    return f"device class {table.device_class!r}: version {version} is current"


def _from_store(artifact: Path, device_class: str) -> LatencyTable:
    """The current table of a device class of the artifact in a folder."""
    from gateway.commands.transfer import known_table
    from supernet.manifest import read_manifest

    return known_table(artifact, read_manifest(artifact), device_class, None)


def _family(artifact: Path) -> tuple[str, dict[str, bytes]]:
    """What an archive of all subnets of the artifact in a folder holds, for TorchServe."""
    from gateway.torchserve.archive import family_files

    return family_files(artifact)


if __name__ == "__main__":
    sys.exit(main())
