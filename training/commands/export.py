"""`compofa export`: a subnet as a file that its device's runtime reads."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from supernet.architecture import Architecture
from supernet.commandline import Parser
from training.exports.formats import FORMATS, exporter

if TYPE_CHECKING:
    from training.exports.export import Exported


def add_parsers(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add `export` to the commands."""
    parser = commands.add_parser(
        "export",
        help="write a subnet for another runtime",
        description="Writes one subnet as a file of its own, runs that file in its own runtime, "
        "and compares the logits with the subnet's on images at batch 1 and 8. Only a file that "
        "agrees within 1e-4 is put in place.",
    )
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--subnet", required=True, metavar="ID", help="such as d2-3-4-2-3@28")
    parser.add_argument("--format", required=True, choices=list(FORMATS))
    parser.add_argument("--out", required=True, type=Path, metavar="PATH", help="the file to write")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.set_defaults(command=_export)


def _export(arguments: argparse.Namespace) -> int:
    exporter(arguments.format)  # a package that is missing is told before torch is imported
    arch = Architecture.parse(arguments.subnet)

    from supernet import artifact
    from training.exports.export import export

    done = export(artifact.load(arguments.artifact), arch, arguments.format, arguments.out)
    print(_as_json(done) if arguments.json else _as_line(done))
    return 0


def _as_line(done: Exported) -> str:
    details = ", ".join(f"{key} {value}" for key, value in done.details.items())
    return (
        f"{done.path}: {done.format} of {done.subnet}, {done.size_bytes:,} bytes, max difference "
        f"{done.max_difference:.2g} on {done.images}, {details}"
    )


def _as_json(done: Exported) -> str:
    return json.dumps(
        {
            "path": str(done.path),
            "format": done.format,
            "subnet": done.subnet,
            "bytes": done.size_bytes,
            "max_difference": done.max_difference,
            "images": done.images,
            **done.details,
        }
    )
