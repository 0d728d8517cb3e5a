"""The command `fetch`: the subnet that fits a device, as a file, built here or by a gateway."""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import cli
from gateway.commands import credentials as cli_credentials
from gateway.exports.key import DEFAULT_FORMAT, SUFFIXES, ExportKey
from supernet.commandline import Parser
from supernet.version import version

if TYPE_CHECKING:
    from gateway.fetching.fetched import Fetched
    from gateway.request import Constraints


def add_command(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add `fetch`."""
    parser = commands.add_parser(
        "fetch",
        help="the subnet for a device as a file",
        description="Writes the subnet that a request with the same constraints would get to a "
        "file for the device's own runtime. From a gateway nothing is sent where that file is "
        "there already, and a fetch that was ended is gone on with by the same command; what it "
        "has to know for that is in hidden files beside the file.",
    )
    cli.add_constraints(parser)
    parser.add_argument("--format", choices=list(SUFFIXES), default=DEFAULT_FORMAT)
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="to write")
    parser.add_argument("--artifact", type=Path, metavar="DIR", help="the shipped one by default")
    parser.add_argument("--target", metavar="HOST:PORT", help="ask this gateway instead")
    cli.add_store(parser)
    cli_credentials.add_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=fetch)


def fetch(arguments: argparse.Namespace) -> int:
    """Put the file in place, then say what it is."""
    cli_credentials.check_target(arguments)
    constraints = cli.constraints_of(arguments)
    by = _here if arguments.target is None else _by_gateway
    fetched = by(arguments, constraints)
    print(json.dumps(fetched.as_json()) if arguments.json else _as_line(fetched))
    return 0


def _by_gateway(arguments: argparse.Namespace, constraints: Constraints) -> Fetched:
    from gateway.client import Client

    if arguments.artifact or arguments.store:
        raise ValueError("--target: the gateway has its own --artifact and --store")
    credentials = cli_credentials.credentials_of(arguments)
    with Client(arguments.target, constraints, credentials=credentials) as client:
        return client.fetch(arguments.out, format=arguments.format)


def _here(arguments: argparse.Namespace, constraints: Constraints) -> Fetched:
    from gateway.fetching.fetched import Fetched, checked_out, digest, keep, places, put
    from gateway.select import select
    from supernet.manifest import read_manifest

    classes = cli.classes_of(arguments)
    selection = select(classes.candidates(constraints.device_class), constraints)
    artifact, out = cli.artifact_of(arguments), checked_out(arguments.out)
    artifact_hash = read_manifest(artifact).artifact_hash
    key = ExportKey(artifact_hash, selection.subnet, arguments.format, version())
    try:
        with tempfile.TemporaryDirectory(prefix=".compofa-fetch-", dir=out.parent) as folder:
            made = _exported(artifact, key, Path(folder))
            sha256, size = digest(made), sum(file.stat().st_size for file in made)
            files = places([file.name for file in made], out)
            keep(out, files, key.version(sha256), sha256)
            put(made, files)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(arguments.out)) from None
    return Fetched(
        files=(arguments.out, *files[1:]),
        subnet=selection.subnet,
        expected_accuracy=selection.accuracy,
        predicted_latency_ms=selection.latency_ms,
        format=key.format,
        version=key.version(sha256),
        sha256=sha256,
        size_bytes=size,
    )


def _exported(artifact: Path, key: ExportKey, folder: Path) -> tuple[Path, ...]:
    """The files of an export, the main one first. Raises `ValueError` with what the export says
    of its failure."""
    from gateway.child_process import environment
    from gateway.exports.builder import export_command, told

    main = folder / key.file_name
    done = subprocess.run(
        export_command(artifact, key.subnet, key.format, main),
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode == 2:  # bad usage: the rest of the command line is ours
        raise ValueError(f"--format {key.format}: cannot be built here")
    if done.returncode != 0:
        raise ValueError(told(done.stderr) or f"the export failed: {done.stderr[-500:]}")
    return main, *sorted(file for file in folder.iterdir() if file != main)


def _as_line(fetched: Fetched) -> str:
    there = "was there already" if fetched.unchanged else f"{fetched.size_bytes:,} bytes"
    names = ", ".join(map(str, fetched.files))
    return (
        f"{names}: {fetched.format} of {fetched.subnet}, {there}, expected accuracy "
        f"{fetched.expected_accuracy:.4f}, predicted {fetched.predicted_latency_ms:.4g} ms"
    )
