"""The commands under `tables`: latency tables into, out of and between versions of a store.

Imports no torch. Every command works on the tables of one artifact.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from gateway import cli
from gateway.device_classes import DeviceClasses
from gateway.stores import open_store
from gateway.table_formats import READERS, Target, write_ofa_lut
from gateway.tables import DeviceClassInfo, StoredTable, TableStore
from supernet.commandline import Parser
from supernet.durable import write_file, write_folder
from supernet.latency import read_bundled_tables
from supernet.manifest import Manifest, read_manifest


def add_commands(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add `tables` and the commands under it."""
    tables = commands.add_parser("tables", help="list, import and roll back latency tables")
    actions = tables.add_subparsers(
        dest="action", required=True, metavar="ACTION", parser_class=Parser
    )
    _add(actions, "list", list_, "the device classes there are", device_class=False)
    show_ = _add(actions, "show", show, "the versions of one device class")
    importing = _add(actions, "import", import_, "read a table from a file or folder")
    export_ = _add(actions, "export", export, "write a table to a file or folder")
    back = _add(actions, "rollback", rollback, "make an older version current")
    _add(actions, "delete", delete, "forget every version of a device class")
    importing.add_argument("path", type=Path, metavar="PATH")
    importing.add_argument(
        "--format", required=True, choices=list(READERS),
        help="json: a latency table, or an object from subnet id to milliseconds; ofa-lut: "
        "Once-for-All's block latencies, a folder with files like 160_lookup_table.yaml",
    )  # fmt: skip
    importing.add_argument("--default-budget-ms", type=float, metavar="X")
    export_.add_argument("--format", default="json", choices=list(READERS), help="json by default")
    export_.add_argument(
        "--out", type=Path, metavar="PATH",
        help="standard output by default; a folder, new or empty, for ofa-lut",
    )  # fmt: skip
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
    """Keep the table in a file, or in a folder, as the next version of a device class."""
    manifest, store = _opened(arguments)
    target = Target(manifest, arguments.device_class, arguments.default_budget_ms)
    table = READERS[arguments.format](arguments.path, target)
    version = store.put(table)
    for note in target.notes:
        print(f"compofa: {note}", file=sys.stderr)
    print(f"{table.device_class}: version {version}, {len(table.latency_ms)} subnets")
    return 0


def export(arguments: argparse.Namespace) -> int:
    """Write the current table of a device class: as JSON, or as a folder of lookup tables."""
    manifest, store = _opened(arguments)
    classes = DeviceClasses(manifest, read_bundled_tables(_artifact(arguments)), store)
    table = classes.table(arguments.device_class).table
    if arguments.format == "ofa-lut":
        _write_folder(arguments.out, write_ofa_lut(table))
        return 0
    document = table.model_dump_json(indent=1)
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


def _write_folder(folder: Path | None, files: dict[str, bytes]) -> None:
    if folder is None:
        raise ValueError("--out: expected a folder for the format ofa-lut")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"--out {folder}: something is there; give a new or empty folder")
    write_folder(folder, files)


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
