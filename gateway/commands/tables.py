"""The commands under `tables`: latency tables into, out of and between versions of a store.

Imports no torch. Every command works on the tables of one artifact.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from gateway import cli
from gateway.commands import transfer as cli_transfer
from gateway.commands.aliases import alias, unalias
from gateway.device_classes import DeviceClasses
from gateway.stores.by_url import ask, signed
from gateway.stores.table_check import RefusedTableError, read_document
from gateway.stores.table_formats import READERS, Target, write_ofa_lut
from gateway.stores.tables import DeviceClassInfo, StoredTable, TableStore
from supernet.commandline import Parser, warn
from supernet.durable import write_file, write_folder
from supernet.manifest import Manifest, read_manifest

_MAX_VERSION = 2**63 - 1  # what a store can count to


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
    alias_ = _add(actions, "alias", alias, "another name for a device class", device_class=False)
    unalias_ = _add(actions, "unalias", unalias, "take an alias back", device_class=False)
    for parser in (alias_, unalias_):
        parser.add_argument("name", metavar="NAME")
    alias_.add_argument("target", metavar="TARGET", help="a device class that has a table")
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
    cli_transfer.add_action(actions)
    back.add_argument("--version", type=int, metavar="N", help="the one before by default")
    show_.add_argument("--json", action="store_true", help="print one JSON document")
    actions.choices["list"].add_argument("--json", action="store_true", help="print one JSON list")


def list_(arguments: argparse.Namespace) -> int:
    """Print every device class with its current version, and a line for each alias of none."""
    classes = cli.classes_of(arguments)
    for name, target in sorted(classes.aliases.items()):
        if classes.resolve(name) is None:
            warn(f"alias {name!r}: {target!r} has no table")
    _print(list(classes.infos()), as_json=arguments.json)
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Print every version of one device class; the current one is marked."""
    manifest, classes = read_manifest(cli.artifact_of(arguments)), cli.classes_of(arguments)
    current = classes.table(arguments.device_class)
    name = current.table.device_class
    bundled = classes.bundled(name)
    kept = ask(arguments.store, lambda store: _good_versions(store, manifest, name))
    versions = ([bundled] if bundled else []) + kept
    infos = [classes.info(stored) for stored in versions]
    _print(infos, as_json=arguments.json, current=current.version)
    return 0


def import_(arguments: argparse.Namespace) -> int:
    """Keep the table in a file, or in a folder, as the next version of a device class."""
    manifest = read_manifest(cli.artifact_of(arguments))
    target = Target(manifest, arguments.device_class, arguments.default_budget_ms)
    table = READERS[arguments.format](arguments.path, target)
    version = ask(arguments.store, lambda store: store.put(signed(table)))
    for note in target.notes:
        warn(note)
    print(f"{table.device_class}: version {version}, {len(table.latency_ms)} subnets")
    return 0


def export(arguments: argparse.Namespace) -> int:
    """Write the current table of a device class: as JSON, or as a folder of lookup tables."""
    table = cli.classes_of(arguments).table(arguments.device_class).table
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
    manifest, classes = read_manifest(cli.artifact_of(arguments)), cli.classes_of(arguments)
    name = _no_alias(arguments.device_class, classes)
    bundled = classes.bundled(name) is not None

    async def roll_back(store: TableStore) -> int:
        version = arguments.version
        if version is not None and not 0 <= version <= _MAX_VERSION:
            raise ValueError(f"--version: expected 0 to {_MAX_VERSION}, got {version}")
        if version is None:
            version = await _version_before(store, manifest, name, bundled=bundled)
        if version == 0 and not bundled:
            raise ValueError(f"--version 0: no table for {name!r} came with this artifact")
        await _check_version(store, manifest, name, version)
        await store.rollback(manifest.artifact_hash, name, version)
        return int(version)

    print(f"{name}: version {ask(arguments.store, roll_back)}")
    return 0


def delete(arguments: argparse.Namespace) -> int:
    """Forget a device class's versions; a table that came with the artifact stays."""
    artifact_hash = read_manifest(cli.artifact_of(arguments)).artifact_hash
    classes = cli.classes_of(arguments)
    name = _no_alias(arguments.device_class, classes)
    if not ask(arguments.store, lambda store: store.delete(artifact_hash, name)):
        raise ValueError(f"device class {name!r}: the store has no table for it")
    bundled = classes.bundled(name)
    remains = "; the table that came with the artifact holds again" if bundled else ""
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


def _no_alias(name: str, classes: DeviceClasses) -> str:
    """The device class that is asked for: what changes a table for good takes no other name."""
    if name in classes.aliases and name not in classes.names:
        raise ValueError(f"device class {name!r}: an alias: name {classes.aliases[name]!r} itself")
    return name


async def _good_versions(
    store: TableStore, manifest: Manifest, device_class: str
) -> list[StoredTable]:
    """What a store keeps of a device class, oldest first; a line for each that is refused."""
    good = []
    for version in await store.versions(manifest.artifact_hash, device_class):
        try:
            document = await store.document(manifest.artifact_hash, device_class, version)
            if document is not None:
                good.append(read_document(device_class, document, manifest))
        except RefusedTableError as error:
            warn(f"{device_class}: version {version}: {error}")
    return good


async def _version_before(
    store: TableStore, manifest: Manifest, device_class: str, *, bundled: bool
) -> int:
    """The newest version that is older than the current one."""
    kept = await store.versions(manifest.artifact_hash, device_class)
    now = (await store.current(manifest.artifact_hash, {})).get(device_class)
    current = now.version if now else 0
    there_are = ([0] if bundled else []) + kept
    older = [version for version in there_are if version < current or current < 0]  # damaged
    if not older:
        what = f"version {current} is the oldest there is" if kept or bundled else "not known"
        raise ValueError(f"device class {device_class!r}: {what}")
    return max(older)


async def _check_version(
    store: TableStore, manifest: Manifest, device_class: str, version: int
) -> None:
    """Raise `ValueError` for a version that no gateway would serve by."""
    document = await store.document(manifest.artifact_hash, device_class, version)
    if document is None:
        return  # 0, or none at all, which the store says itself
    try:
        read_document(device_class, document, manifest)
    except RefusedTableError as error:
        raise ValueError(f"device class {device_class!r}: version {version}: {error}") from None


def _print(infos: list[DeviceClassInfo], *, as_json: bool, current: int | None = None) -> None:
    if as_json:
        documents = [asdict(info) | {"created": info.created.isoformat()} for info in infos]
        extra = [{} if current is None else {"current": i.version == current} for i in infos]
        print(json.dumps([a | b for a, b in zip(documents, extra, strict=True)]))
        return
    from rich.table import Table

    table = Table(
        "device class", "version", "kind", "default ms", "subnets", "frontier", "created", "by",
        "aliases", "source",
    )  # fmt: skip
    for info in infos:
        mark = " (current)" if info.version == current else ""
        table.add_row(
            info.name,
            f"{info.version}{mark}",
            info.kind,
            "" if info.default_budget_ms is None else f"{info.default_budget_ms:.4g}",
            str(info.subnets),
            str(info.frontier),
            info.created.strftime("%Y-%m-%d %H:%M"),
            info.created_by or "",
            ", ".join(info.aliases),
            info.source,
        )
    cli.console().print(table)
