"""Latency tables kept for good: what a store of them can do, and the values it gives.

A table belongs to an (artifact hash, device class). Versions count from 1 and never change; a
pointer says which one is current. Tables that travel with an artifact are no store's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from supernet.latency import LatencyTable


class StoreError(ValueError):
    """The store cannot be used; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class StoredTable:
    """A table and its version: 1, 2, ... in a store, 0 for one that came with the artifact."""

    version: int
    table: LatencyTable


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
    """What a store of latency tables can do. Safe to use from several threads."""

    def put(self, table: LatencyTable) -> int:
        """Keep a table as the next version of its class and make it current; its version."""
        ...

    def current(self, artifact_hash: str) -> list[StoredTable]:
        """The current table of every device class, by name."""
        ...

    def history(self, artifact_hash: str, device_class: str) -> list[StoredTable]:
        """Every version kept for a device class, oldest first."""
        ...

    def rollback(self, artifact_hash: str, device_class: str, version: int) -> None:
        """Make an older version current; 0 withdraws the store's table. `ValueError` where
        there is no such version."""
        ...

    def delete(self, artifact_hash: str, device_class: str) -> bool:
        """Forget every version of a device class; whether there was any."""
        ...

    def generation(self) -> object:
        """A value that differs once anything may have changed. Cheap."""
        ...
