"""`compofa profile`: this machine's latency table."""

from __future__ import annotations

import argparse
from pathlib import Path

from supernet.commandline import Parser
from supernet.durable import write_file
from supernet.latency import check_device_class
from training.commands.options import add_threads, milliseconds, positive


def add_parsers(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add `profile` to the commands."""
    parser = commands.add_parser("profile", help="measure latencies on this CPU")
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--device-class", required=True)
    parser.add_argument("--out", type=Path, help="write the table to a file, not to the store")
    parser.add_argument("--runs", type=positive, default=20, help="timed runs a subnet")
    parser.add_argument("--default-budget-ms", type=milliseconds)
    parser.add_argument("--subnet", action="append", help="a subnet id; all by default")
    add_threads(parser, 1)
    parser.set_defaults(command=_profile)


def _profile(arguments: argparse.Namespace) -> int:
    from supernet import artifact
    from training.evaluate import asked_for
    from training.profile import profile
    from training.report import track

    check_device_class(arguments.device_class)
    if arguments.out is None and arguments.deliver is None:
        raise ValueError("--out: expected the file to write the latency table to")
    loaded = artifact.load(arguments.artifact)
    archs = asked_for(arguments.subnet, loaded.supernet.space)
    with track("profile", len(archs)) as advance:
        table = profile(
            loaded,
            arguments.device_class,
            num_threads=arguments.threads,
            runs=arguments.runs,
            default_budget_ms=arguments.default_budget_ms,
            archs=archs,
            advance=advance,
        )
    if arguments.out is None:
        print(arguments.deliver(table))
    else:
        write_file(arguments.out, table.model_dump_json(indent=1).encode() + b"\n")
    return 0
