"""Latency tables of an artifact from and to files: `json` and Once-for-All's `ofa-lut`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from gateway.stores.table_check import check_table
from supernet.architecture import Architecture
from supernet.latency import LatencyTable
from supernet.manifest import Manifest
from supernet.validation import first_error


@dataclass(frozen=True, slots=True)
class Target:
    """What an imported table is for. `notes` gets a line for whatever was left out."""

    manifest: Manifest
    device_class: str
    default_budget_ms: float | None
    notes: list[str] = field(default_factory=list)

    def table(self, path: Path, document: dict[str, object]) -> LatencyTable:
        """The table that `document` describes, of this artifact and device class, checked.

        Raises `ValueError` in one line naming the file and the field.
        """
        own = self.manifest.artifact_hash
        if document.get("artifact_hash", own) != own:
            raise ValueError(f"latency table {path}: artifact_hash: it belongs to another artifact")
        document |= {"artifact_hash": own, "device_class": self.device_class}
        if self.default_budget_ms is not None:
            document["default_budget_ms"] = self.default_budget_ms
        try:
            table = LatencyTable.model_validate(document)
            if table.kind == "learned":  # here it is what someone put there, and stays
                table = table.model_copy(update={"kind": "imported"})
            check_table(table, self.manifest)
        except ValidationError as error:
            raise ValueError(f"latency table {path}: {first_error(error)}") from None
        except ValueError as error:
            raise ValueError(f"latency table {path}: {error}") from None
        return table


def read_json(path: Path, target: Target) -> LatencyTable:
    """A latency table, or an object from subnet id to milliseconds. Raises `ValueError` in one
    line naming the file and the field."""
    try:
        document = json.loads(path.read_bytes(), object_pairs_hook=_without_doubles)
    except _DoubledError as error:
        raise ValueError(f"latency table {path}: {error}") from None
    except (ValueError, RecursionError):
        raise ValueError(f"latency table {path}: not a JSON document") from None
    if not isinstance(document, dict):
        raise ValueError(f"latency table {path}: expected a JSON object")
    if "latency_ms" not in document:
        document = {"latency_ms": document}
    return target.table(path, {"source": _source(path), "measured": False} | document)


def read_ofa_lut(path: Path, target: Target) -> LatencyTable:
    """The folder of block latencies at `path`, summed for every subnet of the catalog.

    Subnets at a resolution without a file are left out, and files at one that the artifact does
    not have. Raises `ValueError` in one line naming the file and the key or field.
    """
    from supernet.lookup_table import LookupTable
    from supernet.lookup_table_files import find_lookup_tables, read_lookup_table

    manifest, files = target.manifest, find_lookup_tables(path)
    listed = [Architecture.parse(subnet) for subnet in manifest.catalog.subnets()]
    if not listed:
        raise ValueError(
            "the artifact's catalog is empty: 'compofa evaluate --write' fills it, or 'import-ofa "
            "--accuracy-predictor'"
        )
    _say_left_out(files, listed, target)
    used = {r: f for r, f in files.items() if r in manifest.design_space.resolutions}
    blocks = {resolution: read_lookup_table(file) for resolution, file in used.items()}
    origins = {resolution: f"latency table {file}" for resolution, file in used.items()}
    lookup = LookupTable(manifest.design_space, blocks, origins)
    latency_ms = {a.id: lookup.latency_ms(a) for a in listed if a.resolution in blocks}
    document = {"latency_ms": latency_ms, "blocks": blocks, "source": _source(path)}
    return target.table(path, document | {"measured": False})


def write_ofa_lut(table: LatencyTable) -> dict[str, bytes]:
    """The files of a folder that `read_ofa_lut` reads back, by name. Raises `ValueError` for a
    table that holds no blocks."""
    from supernet.lookup_table_files import write_lookup_tables

    if not table.blocks:
        raise ValueError(
            f"device class {table.device_class!r}: its table holds latencies of whole subnets, "
            "none of blocks, which ofa-lut needs: export it as json"
        )
    return write_lookup_tables(table.blocks)


READERS: dict[str, Callable[[Path, Target], LatencyTable]] = {
    "json": read_json,
    "ofa-lut": read_ofa_lut,
}


def _say_left_out(files: dict[int, Path], listed: list[Architecture], target: Target) -> None:
    """Tell of files and subnets that are of no use. Raises `ValueError` where nothing is left."""
    own = target.manifest.design_space.resolutions
    foreign = [file for resolution, file in files.items() if resolution not in own]
    missing = sorted({a.resolution for a in listed} - files.keys())
    sizes = ", ".join(map(str, own))
    if not any(a.resolution in files for a in listed):
        raise ValueError(f"{next(iter(files.values()))}: the artifact's resolutions are {sizes}")
    for file in foreign:
        target.notes.append(f"{file}: not used: the artifact's resolutions are {sizes}")
    for resolution in missing:
        subnets = sum(a.resolution == resolution for a in listed)
        target.notes.append(
            f"no file for resolution {resolution}: its {subnets} subnets are left out"
        )


class _DoubledError(ValueError):
    """A name that an object has twice: which of the two is meant cannot be told."""


def _without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise _DoubledError(f"{doubled!r} is there twice")
    return found


def _source(path: Path) -> str:
    name = "".join(c if c.isprintable() else "?" for c in path.name)
    return f"imported: {name}"
