"""The commands under `tables`: latency tables into, out of and between versions of a store.

Imports no torch. Every command works on the tables of one artifact.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from pydantic import ValidationError

from gateway import cli
from gateway.device_classes import DeviceClasses, check_subnets
from gateway.stores import open_store
from gateway.tables import DeviceClassInfo, StoredTable, TableStore
from supernet.commandline import Parser
from supernet.durable import write_file
from supernet.latency import LatencyTable, read_bundled_tables
from supernet.manifest import Manifest, read_manifest
from supernet.validation import first_error


def add_commands(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add `tables` and the commands under it."""
    tables = commands.add_parser("tables", help="list, import and roll back latency tables")
    actions = tables.add_subparsers(
        dest="action", required=True, metavar="ACTION", parser_class=Parser
    )
    _add(actions, "list", list_, "the device classes there are", device_class=False)
    show_ = _add(actions, "show", show, "the versions of one device class")
    importing = _add(actions, "import", import_, "read a table from a file")
    export_ = _add(actions, "export", export, "write a table as JSON")
    back = _add(actions, "rollback", rollback, "make an older version current")
    _add(actions, "delete", delete, "forget every version of a device class")
    importing.add_argument("path", type=Path, metavar="PATH")
    importing.add_argument(
        "--format", required=True, choices=["json"],
        help="json: a latency table, or an object from subnet id to milliseconds",
    )  # fmt: skip
    importing.add_argument("--default-budget-ms", type=float, metavar="X")
    export_.add_argument("--out", type=Path, metavar="PATH", help="standard output by default")
    back.add_argument("--version", type=int, metavar="N", help="the one before by default")
    show_.add_argument("--json", action="store_true", help="print one JSON document")
    actions.choices["list"].add_argument("--json", action="store_true", help="print one JSON list")


def list_(arguments: argparse.Namespace) -> int:
    """Print every device class with its current version."""
    manifest, store = _opened(arguments)
    infos = DeviceClasses(manifest, read_bundled_tables(_artifact(arguments)), store).infos()
    _print(infos, as_json=arguments.json)
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Print every version of one device class; the current one is marked."""
    manifest, store = _opened(arguments)
    classes = DeviceClasses(manifest, read_bundled_tables(_artifact(arguments)), store)
    current = classes.table(arguments.device_class)
    bundled = classes.bundled(arguments.device_class)
    kept = store.history(manifest.artifact_hash, arguments.device_class)
    versions = ([bundled] if bundled else []) + kept
    infos = [DeviceClassInfo.of(stored) for stored in versions]
    _print(infos, as_json=arguments.json, current=current.version)
    return 0


def import_(arguments: argparse.Namespace) -> int:
    """Keep the table in a file as the next version of a device class."""
    manifest, store = _opened(arguments)
    table = read_json(arguments.path, manifest, arguments.device_class, arguments.default_budget_ms)
    version = store.put(table)
    print(f"{table.device_class}: version {version}, {len(table.latency_ms)} subnets")
    return 0


def export(arguments: argparse.Namespace) -> int:
    """Write the current table of a device class as JSON."""
    manifest, store = _opened(arguments)
    classes = DeviceClasses(manifest, read_bundled_tables(_artifact(arguments)), store)
    document = classes.table(arguments.device_class).table.model_dump_json(indent=1)
    if arguments.out:
        write_file(arguments.out, document.encode() + b"\n")
    else:
        print(document)
    return 0


def rollback(arguments: argparse.Namespace) -> int:
    """Make an older version current; 0 is the table that came with the artifact."""
    manifest, store = _opened(arguments)
    classes = DeviceClasses(manifest, read_bundled_tables(_artifact(arguments)), store)
    name, bundled = arguments.device_class, classes.bundled(arguments.device_class)
    version = arguments.version
    if version is None:
        kept = store.history(manifest.artifact_hash, name)
        version = _before(classes.table(name), ([bundled] if bundled else []) + kept)
    if version == 0 and bundled is None:
        raise ValueError(f"--version 0: no table for {name!r} came with this artifact")
    store.rollback(manifest.artifact_hash, name, version)
    print(f"{name}: version {version}")
    return 0


def delete(arguments: argparse.Namespace) -> int:
    """Forget a device class's versions; a table that came with the artifact stays."""
    manifest, store = _opened(arguments)
    name = arguments.device_class
    if not store.delete(manifest.artifact_hash, name):
        raise ValueError(f"device class {name!r}: the store has no table for it")
    classes = DeviceClasses(manifest, read_bundled_tables(_artifact(arguments)), store)
    remains = "; the table that came with the artifact holds again" if classes.bundled(name) else ""
    print(f"{name}: deleted{remains}")
    return 0


def read_json(
    path: Path, manifest: Manifest, device_class: str, default_budget_ms: float | None
) -> LatencyTable:
    """A table of `manifest`'s artifact from a JSON file: a latency table, or an object from
    subnet id to milliseconds. Raises `ValueError` in one line naming the file and the field."""
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise ValueError(f"latency table {path}: not a JSON document") from None
    if not isinstance(document, dict):
        raise ValueError(f"latency table {path}: expected a JSON object")
    if "latency_ms" not in document:
        document = {"latency_ms": document, "source": f"imported: {path.name}", "measured": False}
    own = manifest.artifact_hash
    if document.get("artifact_hash", own) != own:
        raise ValueError(f"latency table {path}: artifact_hash: it belongs to another artifact")
    document |= {"artifact_hash": own, "device_class": device_class}
    if default_budget_ms is not None:
        document["default_budget_ms"] = default_budget_ms
    try:
        table = LatencyTable.model_validate(document)
        check_subnets(table.latency_ms, manifest.catalog)
    except ValidationError as error:
        raise ValueError(f"latency table {path}: {first_error(error)}") from None
    except ValueError as error:
        raise ValueError(f"latency table {path}: {error}") from None
    return table


def _add(
    actions: argparse._SubParsersAction[Parser],
    name: str,
    command: object,
    text: str,
    *,
    device_class: bool = True,
) -> Parser:
    parser = actions.add_parser(name, help=text, description=text)
    parser.add_argument("--artifact", type=Path, metavar="DIR", help="the shipped one by default")
    if device_class:
        parser.add_argument("--device-class", required=True, metavar="NAME")
    cli.add_store(parser)
    parser.set_defaults(run=command)
    return parser


def _artifact(arguments: argparse.Namespace) -> Path:
    return arguments.artifact or cli.shipped_artifact()


def _opened(arguments: argparse.Namespace) -> tuple[Manifest, TableStore]:
    return read_manifest(_artifact(arguments)), open_store(arguments.store)


def _before(current: StoredTable, versions: list[StoredTable]) -> int:
    older = [stored.version for stored in versions if stored.version < current.version]
    if not older:
        name = current.table.device_class
        raise ValueError(f"device class {name!r}: version {current.version} is the oldest there is")
    return max(older)


def _print(infos: list[DeviceClassInfo], *, as_json: bool, current: int | None = None) -> None:
    if as_json:
        documents = [asdict(info) | {"created": info.created.isoformat()} for info in infos]
        extra = [{} if current is None else {"current": i.version == current} for i in infos]
        print(json.dumps([a | b for a, b in zip(documents, extra, strict=True)]))
        return
    from rich.table import Table

    table = Table("device class", "version", "default ms", "subnets", "created", "source")
    for info in infos:
        budget = "" if info.default_budget_ms is None else f"{info.default_budget_ms:.4g}"
        mark = " (current)" if info.version == current else ""
        created = info.created.strftime("%Y-%m-%d %H:%M")
        table.add_row(
            info.name, f"{info.version}{mark}", budget, str(info.subnets), created, info.source
        )
    cli.console().print(table)
