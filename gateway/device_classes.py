"""The device classes an artifact can be served for: tables it came with, then the store's.

Keeps `Candidates` ready for each class, and notices within a second when a table was pushed,
rolled back or deleted by another process. Knows nothing of torch or gRPC.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from gateway.errors import UnknownDeviceClass
from gateway.select import Candidates
from gateway.tables import DeviceClassInfo, StoredTable, StoreError, TableStore
from supernet.catalog import Catalog
from supernet.latency import LatencyTable
from supernet.manifest import Manifest

CHECK_EVERY_S = 1.0

log = logging.getLogger(__name__)


def check_subnets(latency_ms: Iterable[str], catalog: Catalog) -> None:
    """Raise `ValueError` naming the subnets of a table that the catalog does not have."""
    unknown = [subnet for subnet in latency_ms if subnet not in catalog]
    if unknown:
        more = f" (and {len(unknown) - 3} more)" if len(unknown) > 3 else ""
        raise ValueError(
            f"latency_ms: not in the artifact's catalog: {', '.join(unknown[:3])}{more}"
        )


class DeviceClasses:
    """Current table and candidates by device class. Safe to use from several threads.

    A class in the store hides the bundled one of the same name. Where `fallback` is given,
    unknown classes are served as that one. Raises `ValueError` for a bundled table of another
    artifact, and `StoreError` only when it is made: later on a store that fails leaves the last
    tables in use, and `store_ok` false.
    """

    def __init__(
        self,
        manifest: Manifest,
        bundled: Iterable[LatencyTable],
        store: TableStore,
        *,
        fallback: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalog, self._artifact_hash = manifest.catalog, manifest.artifact_hash
        self._bundled = {t.device_class: StoredTable(0, t) for t in bundled}
        self._check_bundled()
        self._store, self._clock = store, clock
        self._lock = threading.Lock()
        self._candidates: dict[str, tuple[StoredTable, Candidates]] = {}
        self._checked_at = clock()
        self._generation = store.generation()
        self._tables: Mapping[str, StoredTable] = self._read()
        self.store_ok = True
        if fallback is not None and fallback not in self._tables:
            raise ValueError(str(UnknownDeviceClass(fallback, self._tables)))
        self._fallback = fallback

    def candidates(self, device_class: str) -> Candidates:
        """What may answer on a device class. Raises `UnknownDeviceClass`."""
        stored = self.table(device_class)
        known = self._candidates.get(stored.table.device_class)
        if known is not None and known[0] is stored:
            return known[1]
        fresh = Candidates(self._catalog, stored.table)
        self._candidates[stored.table.device_class] = (stored, fresh)
        return fresh

    def table(self, device_class: str) -> StoredTable:
        """The current table of a device class. Raises `UnknownDeviceClass`."""
        tables = self._current()
        stored = tables.get(device_class) or tables.get(self._fallback or "")
        if stored is None:
            raise UnknownDeviceClass(device_class, tables)
        return stored

    def bundled(self, device_class: str) -> StoredTable | None:
        """Version 0 of a device class, where one came with the artifact."""
        return self._bundled.get(device_class)

    def infos(self) -> list[DeviceClassInfo]:
        """Every device class there is now, by name."""
        return [DeviceClassInfo.of(stored) for _, stored in sorted(self._current().items())]

    def _check_bundled(self) -> None:
        for name, stored in self._bundled.items():
            if stored.table.artifact_hash != self._artifact_hash:
                raise ValueError(
                    f"device class {name!r}: the table that came with the artifact belongs to "
                    "another one"
                )

    def _current(self) -> Mapping[str, StoredTable]:
        if self._clock() - self._checked_at >= CHECK_EVERY_S:
            with self._lock:
                if self._clock() - self._checked_at >= CHECK_EVERY_S:
                    self._refresh()
                    self._checked_at = self._clock()
        return self._tables

    def _refresh(self) -> None:
        try:
            generation = self._store.generation()
            if generation != self._generation:
                self._tables = self._read()
                self._generation = generation
                self._candidates = {}
            self.store_ok = True
        except StoreError as error:
            if self.store_ok:
                log.warning("latency tables: serving from the last ones known: %s", error)
            self.store_ok = False

    def _read(self) -> Mapping[str, StoredTable]:
        kept = {s.table.device_class: s for s in self._store.current(self._artifact_hash)}
        return self._bundled | kept
