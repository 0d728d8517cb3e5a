"""Latency tables kept for good: what a store of them can do, and the values it gives.

A table belongs to an (artifact hash, device class). Versions count from 1 and never change; a
pointer says which one is current. Tables that travel with an artifact are no store's business.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from supernet.latency import Kind, LatencyTable

MAX_DOCUMENT_BYTES = 16 * 1024 * 1024  # a hundred times the largest table there should be


class StoreError(ValueError):
    """The store cannot be used; the message is one line for the user."""


class StoreUnavailableError(StoreError):
    """The store does not answer; it may well do so later."""


@dataclass(frozen=True, slots=True)
class StoredTable:
    """A table and its version: 1, 2, ... in a store, 0 for one that came with the artifact."""

    version: int
    table: LatencyTable


@dataclass(frozen=True, slots=True)
class TableDocument:
    """One version as it lies in a store, unread: it may be damaged, or anything else.

    `text` is JSON, and empty where its `size` in bytes is beyond `MAX_DOCUMENT_BYTES`.
    `sha256` is what the text should have, in hexadecimal; None where the store keeps none.
    """

    version: int
    size: int
    text: bytes
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class CurrentTable:
    """What a store says of a device class now.

    `version` is 0 where its table was withdrawn or deleted. `stamp` differs whenever the current
    version or its content does. `document` is None at version 0, and where the caller knows it.
    """

    version: int
    stamp: str
    document: TableDocument | None = None


@dataclass(frozen=True, slots=True)
class DeviceClassInfo:
    """One device class in short: what a caller may want to know before asking.

    `kind`, `source`, `created` and `created_by` are its table's, and say where it comes from.
    `subnets` counts the table's entries, `frontier` those among them that no other beats in both
    latency and accuracy. `aliases` are other names that mean the class.
    """

    name: str
    default_budget_ms: float | None
    measured: bool
    source: str
    version: int
    created: datetime
    subnets: int
    kind: Kind
    created_by: str | None
    frontier: int
    aliases: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, stored: StoredTable, frontier: int, aliases: tuple[str, ...] = ()
    ) -> DeviceClassInfo:
        table = stored.table
        return cls(
            name=table.device_class,
            default_budget_ms=table.default_budget_ms,
            measured=table.measured,
            source=table.source,
            version=stored.version,
            created=table.created,
            subnets=len(table.latency_ms),
            kind=table.kind,
            created_by=table.created_by,
            frontier=frontier,
            aliases=aliases,
        )


class TableStore(Protocol):
    """What a store of latency tables can do, for the event loop it is used in.

    Every method raises `StoreError` naming the store where it cannot be used, and of that
    `StoreUnavailableError` where another try may go well. What lies in a store is not checked.
    """

    @property
    def name(self) -> str:
        """What logs and errors call it. Never holds a password."""
        ...

    async def put(self, table: LatencyTable) -> int:
        """Keep a table as the next version of its class and make it current; its version."""
        ...

    async def put_over(self, table: LatencyTable, stamp: str) -> int | None:
        """`put`, unless something else has become current: `stamp` is what `current` said of the
        class, and empty where the store did not know it. None where nothing was kept."""
        ...

    async def current(
        self, artifact_hash: str, known: Mapping[str, str]
    ) -> dict[str, CurrentTable]:
        """Every device class the store has ever had a table for, by name, also those withdrawn.

        `known` are stamps by class; the documents of those that still hold are left out.
        """
        ...

    async def versions(self, artifact_hash: str, device_class: str) -> list[int]:
        """The versions kept for a device class, oldest first."""
        ...

    async def document(
        self, artifact_hash: str, device_class: str, version: int
    ) -> TableDocument | None:
        """One version; None where there is no such one."""
        ...

    async def rollback(self, artifact_hash: str, device_class: str, version: int) -> None:
        """Make an older version current; 0 withdraws the store's table. `ValueError` where
        there is no such version."""
        ...

    async def delete(self, artifact_hash: str, device_class: str) -> bool:
        """Forget every version of a device class; whether there was any. Numbers that were
        given are not given again."""
        ...

    async def prune(self, artifact_hash: str, device_class: str, versions: Collection[int]) -> None:
        """Forget these versions of a device class, but never the current one."""
        ...

    async def aliases(self, artifact_hash: str) -> dict[str, str]:
        """Other names of device classes, and the class that each means; an empty one where the
        alias was taken back."""
        ...

    async def set_alias(self, artifact_hash: str, alias: str, device_class: str) -> None:
        """Let a name mean a device class; nothing again where that is empty."""
        ...

    async def share_evidence(
        self, artifact_hash: str, device_class: str, member: str, evidence: bytes, keep_s: float
    ) -> list[bytes]:
        """Leave what one gateway, `member`, has learnt of a device class where the others find
        it, in place of what it left before; everybody's of the last `keep_s` seconds, its own
        included. Tells nobody."""
        ...

    def looks(self, artifact_hash: str) -> AsyncGenerator[None]:
        """Says when to look at `current`: at once, as soon as the store tells of a change, and
        now and then. What changes between two looks is never missed."""
        ...

    async def aclose(self) -> None:
        """Give up connections, files and threads."""
        ...


def document_of(table: LatencyTable) -> bytes:
    """A table as stores keep it. Raises `ValueError` where it is too large to be read again."""
    text = table.model_dump_json().encode()
    if len(text) > MAX_DOCUMENT_BYTES:
        raise ValueError(
            f"device class {table.device_class!r}: the table has {len(text)} bytes, expected at "
            f"most {MAX_DOCUMENT_BYTES}"
        )
    return text


def no_such_version(device_class: str, version: int, versions: list[int]) -> ValueError:
    """What `rollback` raises."""
    there_are = ", ".join(map(str, versions)) or "none, its table is not in this store"
    return ValueError(
        f"device class {device_class!r} has no version {version}: expected one of {there_are}"
    )
