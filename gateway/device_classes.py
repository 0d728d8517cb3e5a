"""The device classes an artifact can be served for: tables it came with, then a store's.

What a request reads is one immutable snapshot in memory: no I/O, and no lock that I/O could
hold. Whoever follows a store replaces the snapshot. Knows nothing of torch, gRPC or stores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gateway.errors import UnknownDeviceClass
from gateway.select import Candidates
from gateway.tables import DeviceClassInfo, StoredTable
from supernet.latency import LatencyTable
from supernet.manifest import Manifest


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """Tables by device class, those in short by name, and the candidates made so far."""

    tables: Mapping[str, StoredTable]
    infos: tuple[DeviceClassInfo, ...]
    candidates: dict[str, Candidates] = field(default_factory=dict)


class DeviceClasses:
    """Current table and candidates by device class. Safe to read from any thread, while one
    other replaces them.

    A class in the store hides the bundled one of the same name. Where `fallback` is given,
    unknown classes are served as that one. Raises `ValueError` for a bundled table of another
    artifact.
    """

    def __init__(
        self,
        manifest: Manifest,
        bundled: Iterable[LatencyTable] = (),
        *,
        fallback: str | None = None,
    ) -> None:
        self._catalog = manifest.catalog
        self._bundled = {t.device_class: StoredTable(0, t) for t in bundled}
        for name, stored in self._bundled.items():
            if stored.table.artifact_hash != manifest.artifact_hash:
                raise ValueError(
                    f"device class {name!r}: the table that came with the artifact belongs to "
                    "another one"
                )
        self._fallback = fallback
        self._snapshot = _snapshot(self._bundled)

    def candidates(self, device_class: str) -> Candidates:
        """What may answer on a device class. Raises `UnknownDeviceClass`."""
        snapshot = self._snapshot
        table = self._stored(snapshot, device_class).table
        ready = snapshot.candidates.get(table.device_class)
        if ready is None:  # two threads may both make them, and both are right
            ready = snapshot.candidates[table.device_class] = Candidates(self._catalog, table)
        return ready

    def table(self, device_class: str) -> StoredTable:
        """The current table of a device class. Raises `UnknownDeviceClass`."""
        return self._stored(self._snapshot, device_class)

    def bundled(self, device_class: str) -> StoredTable | None:
        """Version 0 of a device class, where one came with the artifact."""
        return self._bundled.get(device_class)

    def infos(self) -> tuple[DeviceClassInfo, ...]:
        """Every device class there is now, by name."""
        return self._snapshot.infos

    def check_fallback(self) -> None:
        """Raise `ValueError` where the fallback is no device class there is now."""
        if self._fallback is not None and self._fallback not in self._snapshot.tables:
            raise ValueError(str(UnknownDeviceClass(self._fallback, self._snapshot.tables)))

    def replace(self, kept: Mapping[str, StoredTable]) -> None:
        """From now on the store's tables are `kept`, by device class."""
        self._snapshot = self._next(kept)

    def replace_warm(self, kept: Mapping[str, StoredTable]) -> None:
        """`replace`, with all candidates made before any request sees the tables. That takes
        milliseconds for a large catalog: not for an event loop."""
        fresh = self._next(kept)
        for name, stored in fresh.tables.items():
            if name not in fresh.candidates:
                fresh.candidates[name] = Candidates(self._catalog, stored.table)
        self._snapshot = fresh

    def _next(self, kept: Mapping[str, StoredTable]) -> _Snapshot:
        old, fresh = self._snapshot, _snapshot({**self._bundled, **kept})
        same = (name for name, stored in fresh.tables.items() if old.tables.get(name) is stored)
        fresh.candidates.update((n, old.candidates[n]) for n in same if n in old.candidates)
        return fresh

    def _stored(self, snapshot: _Snapshot, device_class: str) -> StoredTable:
        tables = snapshot.tables
        stored = tables.get(device_class) or tables.get(self._fallback or "")
        if stored is None:
            raise UnknownDeviceClass(device_class, tables)
        return stored


def _snapshot(tables: Mapping[str, StoredTable]) -> _Snapshot:
    infos = (DeviceClassInfo.of(stored) for _, stored in sorted(tables.items()))
    return _Snapshot(dict(tables), tuple(infos))
