"""Latency tables kept for good: what a store of them can do, and the values it gives.

A table belongs to an (artifact hash, device class). Versions count from 1 and never change; a
pointer says which one is current. Tables that travel with an artifact are no store's business.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from supernet.latency import LatencyTable

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
    """One device class in short: what a caller may want to know before asking."""

    name: str
    default_budget_ms: float | None
    measured: bool
    source: str
    version: int
    created: datetime
    subnets: int

    @classmethod
    def of(cls, stored: StoredTable) -> DeviceClassInfo:
        table = stored.table
        return cls(
            name=table.device_class,
            default_budget_ms=table.default_budget_ms,
            measured=table.measured,
            source=table.source,
            version=stored.version,
            created=table.created,
            subnets=len(table.latency_ms),
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
