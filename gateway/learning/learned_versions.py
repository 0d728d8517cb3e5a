"""Learned tables as versions in a store: what they stand on, put only over what was looked at,
and not kept for ever."""

from __future__ import annotations

import asyncio
import logging

from gateway.device_classes import DeviceClasses
from gateway.learning.learned_table import base_version
from gateway.stores.table_check import RefusedTableError, check_table, read_document
from gateway.stores.tables import StoredTable, TableStore
from supernet.latency import LatencyTable
from supernet.manifest import Manifest

log = logging.getLogger(__name__)


class LearnedVersions:
    """The learned versions of an artifact's device classes, of which `keep` are kept a class.

    Every method raises `StoreError` where the store cannot be used.
    """

    def __init__(self, classes: DeviceClasses, manifest: Manifest, keep: int) -> None:
        self._classes, self._manifest, self._keep = classes, manifest, keep
        self._bases: dict[str, StoredTable] = {}
        self._stamps: dict[str, str] = {}
        self._learned: dict[str, dict[int, bool]] = {}
        self._told: set[tuple[str, int]] = set()

    async def base_of(self, store: TableStore, stored: StoredTable) -> StoredTable | None:
        """The version that was not learned from which `stored` was; None where it is gone."""
        name, version = stored.table.device_class, base_version(stored)
        if version == stored.version:
            return stored
        known = self._bases.get(name)
        if known is None or known.version != version:
            known = await self._read(store, name, version)
            if known is None:
                self._tell_once(stored, "the version that it was learned from is gone")
                return None
            self._bases[name] = known
        return known

    async def put(self, store: TableStore, over: StoredTable, table: LatencyTable) -> int | None:
        """Make `table` current where `over` is now; its version, or None where it is not.

        A class that someone has rolled back stays as it is, until another table is put there.
        """
        check_table(table, self._manifest)
        artifact_hash, name = table.artifact_hash, table.device_class
        found = await store.current(artifact_hash, self._stamps)
        self._stamps = {n: now.stamp for n, now in found.items()}
        now = found.get(name)
        if over.version != (now.version if now else 0):
            return None
        versions = await store.versions(artifact_hash, name)
        if versions and versions[-1] > over.version:
            self._tell_once(over, "rolled back: nothing is learned until another table is put")
            return None
        return await store.put_over(table, now.stamp if now else "")

    async def prune(self, store: TableStore, name: str, current: int) -> None:
        """Forget the oldest learned versions; what people have put there stays."""
        artifact_hash = self._manifest.artifact_hash
        before, learned = self._learned.get(name, {}), {}
        for version in await store.versions(artifact_hash, name):
            if version in before:
                learned[version] = before[version]
            else:
                learned[version] = await self._is_learned(store, name, version)
        self._learned[name] = learned
        older = [version for version in sorted(learned) if learned[version] and version != current]
        if len(older) >= self._keep:
            await store.prune(artifact_hash, name, older[: len(older) - self._keep + 1])

    async def _is_learned(self, store: TableStore, name: str, version: int) -> bool:
        stored = await self._read(store, name, version)
        return stored is not None and stored.table.kind == "learned"

    async def _read(self, store: TableStore, name: str, version: int) -> StoredTable | None:
        if version == 0:
            return self._classes.bundled(name)
        document = await store.document(self._manifest.artifact_hash, name, version)
        if document is None:
            return None
        try:
            return await asyncio.to_thread(read_document, name, document, self._manifest)
        except RefusedTableError:
            return None

    def _tell_once(self, stored: StoredTable, why: str) -> None:
        name, version = stored.table.device_class, stored.version
        if (name, version) not in self._told:
            self._told.add((name, version))
            fields = {"device_class": name, "version": version, "reason": why}
            log.warning("latency table is not learned", extra={"fields": fields})
