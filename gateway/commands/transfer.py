"""`tables transfer`: a new device class from a few measured subnets and another class's table."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from gateway import cli
from gateway.stores.by_url import ask, read_device_classes, signed
from gateway.stores.table_check import check_table
from gateway.stores.table_formats import Target, read_json
from supernet.commandline import Parser, warn
from supernet.latency import LatencyTable
from supernet.manifest import Manifest, read_manifest

_DESCRIPTION = (
    "Tells every latency of a new device class from a few that were measured on it and the table "
    "of a class that is known. --pick says which subnets to measure."
)


def add_action(actions: argparse._SubParsersAction[Parser]) -> None:
    """Add `transfer` to the commands under `tables`."""
    parser = actions.add_parser(
        "transfer", help="a new device class from a few measured subnets", description=_DESCRIPTION
    )
    parser.add_argument("--artifact", type=Path, metavar="DIR", help="the shipped one by default")
    parser.add_argument(
        "--from", dest="source", required=True, metavar="NAME", help="the device class known"
    )
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--pick", type=int, metavar="N", help="print what to measure, 10 is enough")
    given.add_argument(
        "--measurements", type=Path, metavar="FILE",
        help="what was measured: a latency table, or an object from subnet id to milliseconds",
    )  # fmt: skip
    parser.add_argument("--device-class", metavar="NAME", help="the new one, with --measurements")
    parser.add_argument("--default-budget-ms", type=float, metavar="X")
    parser.add_argument("--json", action="store_true", help="with --pick: print one JSON list")
    cli.add_store(parser)
    parser.set_defaults(run=transfer, bad_usage=parser.error)


def transfer(arguments: argparse.Namespace) -> int:
    """Pick subnets to measure, or make a table of what was measured."""
    if arguments.measurements is not None and arguments.device_class is None:
        arguments.bad_usage("the following arguments are required: --device-class")
    artifact = cli.artifact_of(arguments)
    manifest = read_manifest(artifact)
    known = known_table(artifact, manifest, arguments.source, arguments.store)
    if arguments.pick is not None:
        return _pick(arguments, manifest, known)
    return _put(arguments, manifest, known)


def known_table(
    artifact: Path, manifest: Manifest, device_class: str, store: str | None
) -> LatencyTable:
    """The current table of a class or alias. Raises `ValueError` naming those there are."""
    classes = read_device_classes(artifact, manifest, store)
    stored = classes.known(device_class)
    if stored is None:
        there = ", ".join(classes.names) or "none"
        raise ValueError(f"device class {device_class!r}: is not known; there are {there}")
    return stored.table


def _pick(arguments: argparse.Namespace, manifest: Manifest, known: LatencyTable) -> int:
    from supernet.transfer import pick

    picked = pick(manifest.design_space, known.latency_ms, arguments.pick)
    print(json.dumps(picked) if arguments.json else "\n".join(picked))
    return 0


def _put(arguments: argparse.Namespace, manifest: Manifest, known: LatencyTable) -> int:
    from supernet.transfer import transferred_table

    target = Target(manifest, arguments.device_class, arguments.default_budget_ms)
    measured = read_json(arguments.measurements, target)
    table = transferred_table(manifest.design_space, known, measured, warn)
    check_table(table, manifest)
    version = ask(arguments.store, lambda store: store.put(signed(table)))
    print(
        f"{table.device_class}: version {version}, {len(table.latency_ms)} subnets, "
        f"{table.source}, expected error {table.conditions['expected_error']}"
    )
    return 0
