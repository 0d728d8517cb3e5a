"""Whether a latency table may be served by: what arrives from a store is checked here first.

A store is written to by other people's programs and may be damaged. Knows no store and no I/O.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal

from pydantic import ValidationError

from gateway.stores.tables import MAX_DOCUMENT_BYTES, StoredTable, TableDocument
from supernet.catalog import Catalog
from supernet.latency import LatencyTable
from supernet.manifest import Manifest
from supernet.validation import first_error

SHORTEST_MS = 1e-3
"""A microsecond: starting one kernel on any device takes longer, and a net is dozens of them."""
LONGEST_MS = 600_000.0
"""Ten minutes: nobody waits longer for an answer. What takes longer is in another unit."""

Reason = Literal["size", "checksum", "form", "latency", "artifact", "device_class", "subnets"]
_LONGEST_MESSAGE = 300  # characters; a damaged table may have names of any length


class RefusedTableError(ValueError):
    """A table that must not be served by; the message is one line, `reason` one word."""

    def __init__(self, reason: Reason, message: str) -> None:
        self.reason: Reason = reason
        super().__init__(message[:_LONGEST_MESSAGE])


def read_document(device_class: str, document: TableDocument, manifest: Manifest) -> StoredTable:
    """The table in a store's document for `device_class`. Raises `RefusedTableError`."""
    if document.size > MAX_DOCUMENT_BYTES:
        expected = f"expected at most {MAX_DOCUMENT_BYTES}"
        raise RefusedTableError("size", f"it has {document.size} bytes, {expected}")
    if document.sha256 not in (None, hashlib.sha256(document.text).hexdigest()):
        raise RefusedTableError(
            "checksum", "damaged: its SHA-256 is not the one it was stored with"
        )
    try:
        table = LatencyTable.model_validate_json(document.text)
    except ValidationError as error:
        raise RefusedTableError(_reason(error), first_error(error)) from None
    if table.device_class != device_class:
        message = f"device_class: expected {device_class!r}, got {table.device_class!r}"
        raise RefusedTableError("device_class", message)
    check_table(table, manifest)
    return StoredTable(document.version, table)


def check_table(table: LatencyTable, manifest: Manifest) -> None:
    """Raise `RefusedTableError` for a table that an artifact cannot be served by."""
    if table.artifact_hash != manifest.artifact_hash:
        raise RefusedTableError("artifact", "artifact_hash: it belongs to another artifact")
    check_subnets(table.latency_ms, manifest.catalog)
    for field, least in (("latency_ms", SHORTEST_MS), ("p95_ms", SHORTEST_MS), ("std_ms", 0.0)):
        for subnet, ms in getattr(table, field).items():
            if subnet not in table.latency_ms:
                raise RefusedTableError("subnets", f"{field}.{subnet[:80]}: has no latency_ms")
            _check_ms(f"{field}.{subnet}", ms, least)
    budget = table.default_budget_ms
    if budget is not None and budget < SHORTEST_MS:
        expected = f"expected at least {SHORTEST_MS:g} ms"
        raise RefusedTableError("latency", f"default_budget_ms: {expected}, got {budget:g}")


def _check_ms(field: str, ms: float, least: float) -> None:
    if not least <= ms <= LONGEST_MS:
        expected = f"expected {least:g} to {LONGEST_MS:g} ms"
        raise RefusedTableError("latency", f"{field}: {expected}, got {ms:g}")


def check_subnets(latency_ms: Iterable[str], catalog: Catalog) -> None:
    """Raise `RefusedTableError` naming the subnets of a table that the catalog does not have."""
    unknown = [subnet for subnet in latency_ms if subnet not in catalog]
    if unknown:
        more = f" (and {len(unknown) - 3} more)" if len(unknown) > 3 else ""
        named = ", ".join(subnet[:80] for subnet in unknown[:3])
        raise RefusedTableError(
            "subnets", f"latency_ms: not in the artifact's catalog: {named}{more}"
        )


def _reason(error: ValidationError) -> Reason:
    where = error.errors(include_url=False, include_context=False)[0]["loc"]
    return "latency" if where and str(where[0]).endswith("_ms") else "form"
