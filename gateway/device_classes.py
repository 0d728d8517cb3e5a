"""The device classes an artifact can be served for: tables it came with, then a store's.

What a request reads is one immutable snapshot in memory: no I/O, and no lock that I/O could
hold. Whoever follows a store replaces the snapshot. Knows nothing of torch, gRPC or stores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gateway.errors import UnknownDeviceClass
from gateway.select import Candidates
from gateway.stores.tables import DeviceClassInfo, StoredTable
from supernet.latency import LatencyTable
from supernet.manifest import Manifest

_NO_ALIASES: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """Tables by device class, classes by alias, and what was worked out from them so far."""

    tables: Mapping[str, StoredTable]
    aliases: Mapping[str, str]
    candidates: dict[str, Candidates] = field(default_factory=dict)
    infos: list[DeviceClassInfo] = field(default_factory=list)

    def resolve(self, name: str) -> str | None:
        """The class whose table is meant. One step: an alias of an alias means nothing."""
        if name in self.tables:
            return name
        target = self.aliases.get(name)
        return target if target in self.tables else None


class DeviceClasses:
    """Current table and candidates by device class. Safe to read from any thread, while one
    other replaces them.

    A class in the store hides the bundled one of the same name, and a class an alias of the same
    name. Where `fallback` is given, unknown classes are served as that one, an alias or a class
    that may come later. Raises `ValueError` for a bundled table of another artifact.
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
        self.fallback = fallback
        self._snapshot = _Snapshot(dict(self._bundled), {})

    @property
    def names(self) -> tuple[str, ...]:
        """The device classes there are now, in order."""
        return tuple(sorted(self._snapshot.tables))

    @property
    def aliases(self) -> Mapping[str, str]:
        """Other names, and the class each is to mean, also where there is no such class now."""
        return self._snapshot.aliases

    def resolve(self, name: str) -> str | None:
        """The device class that a name or an alias means; None where there is none."""
        return self._snapshot.resolve(name)

    def candidates(self, device_class: str) -> Candidates:
        """What may answer on a device class. Raises `UnknownDeviceClass`."""
        snapshot = self._snapshot
        return self._ready(snapshot, self._served_as(snapshot, device_class))

    def table(self, device_class: str) -> StoredTable:
        """The current table of a device class. Raises `UnknownDeviceClass`."""
        snapshot = self._snapshot
        return snapshot.tables[self._served_as(snapshot, device_class)]

    def known(self, name: str) -> StoredTable | None:
        """The current table of what a name or an alias means, without the fallback."""
        snapshot = self._snapshot
        device_class = snapshot.resolve(name)
        return None if device_class is None else snapshot.tables[device_class]

    def bundled(self, device_class: str) -> StoredTable | None:
        """Version 0 of a device class, where one came with the artifact."""
        return self._bundled.get(device_class)

    def infos(self) -> tuple[DeviceClassInfo, ...]:
        """Every device class there is now, by name."""
        snapshot = self._snapshot
        if not snapshot.infos:
            snapshot.infos[:] = [self._info(snapshot, name) for name in sorted(snapshot.tables)]
        return tuple(snapshot.infos)

    def info(self, stored: StoredTable) -> DeviceClassInfo:
        """Any version of a device class in short."""
        frontier = len(Candidates(self._catalog, stored.table).frontier)
        return DeviceClassInfo.of(stored, frontier)

    def replace(
        self, kept: Mapping[str, StoredTable], aliases: Mapping[str, str] = _NO_ALIASES
    ) -> None:
        """From now on the store's tables are `kept`, by device class, and its aliases these."""
        self._snapshot = self._next(kept, aliases)

    def replace_warm(
        self, kept: Mapping[str, StoredTable], aliases: Mapping[str, str] = _NO_ALIASES
    ) -> None:
        """`replace`, with all candidates made before any request sees the tables. That takes
        milliseconds for a large catalog: not for an event loop."""
        fresh = self._next(kept, aliases)
        for name in fresh.tables:
            self._ready(fresh, name)
        self._snapshot = fresh

    def _next(self, kept: Mapping[str, StoredTable], aliases: Mapping[str, str]) -> _Snapshot:
        old, fresh = self._snapshot, _Snapshot({**self._bundled, **kept}, dict(aliases))
        same = (name for name, stored in fresh.tables.items() if old.tables.get(name) is stored)
        fresh.candidates.update((n, old.candidates[n]) for n in same if n in old.candidates)
        return fresh

    def _served_as(self, snapshot: _Snapshot, device_class: str) -> str:
        name = snapshot.resolve(device_class)
        if name is None and self.fallback is not None:
            name = snapshot.resolve(self.fallback)
        if name is None:
            raise UnknownDeviceClass(device_class, snapshot.tables)
        return name

    def _ready(self, snapshot: _Snapshot, name: str) -> Candidates:
        ready = snapshot.candidates.get(name)
        if ready is None:  # two threads may both make them, and both are right
            table = snapshot.tables[name].table
            ready = snapshot.candidates[name] = Candidates(self._catalog, table)
        return ready

    def _info(self, snapshot: _Snapshot, name: str) -> DeviceClassInfo:
        frontier = len(self._ready(snapshot, name).frontier)
        aliases = (a for a in sorted(snapshot.aliases) if snapshot.resolve(a) == name != a)
        return DeviceClassInfo.of(snapshot.tables[name], frontier, tuple(aliases))
