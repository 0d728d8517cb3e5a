"""Keeps a process's device classes as a store of latency tables has them.

Runs beside the requests and never in their way: a store that is slow, away or emptied leaves the
last tables in use. Every table is checked before it is served by.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing, suppress

from gateway.cancellation import end_if_cancelled
from gateway.device_classes import DeviceClasses
from gateway.stores.table_check import RefusedTableError, read_document
from gateway.stores.tables import CurrentTable, StoredTable, StoreError, TableDocument, TableStore
from supernet.latency import is_device_class
from supernet.manifest import Manifest

READ_ALL_EVERY_S = 30.0
"""Else only what the store says has changed is read; damage says nothing."""
SHORTEST_WAIT_S, LONGEST_WAIT_S = 0.1, 1.0
_MOST_OLDER = 10  # versions looked at for one that is good
_SHOWN = 63  # characters of a device class's name; a damaged store may hold any

log = logging.getLogger(__name__)


class TableFollower:
    """Reads a store, once (`read`) or for good (`run`), into device classes.

    `up` says whether the last look went well, `refused` why the current table of a device
    class is not served by, and `lost` names the classes whose table the store no longer knows
    without having been told to forget it. All may be read from any thread.
    """

    def __init__(
        self,
        classes: DeviceClasses,
        manifest: Manifest,
        open_store: Callable[[], TableStore],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.classes = classes
        self.up = False
        self.refused: Mapping[str, RefusedTableError] = {}
        self.lost: frozenset[str] = frozenset()
        self._manifest, self._open_store, self._clock = manifest, open_store, clock
        self._kept: dict[str, StoredTable] = {}
        self._aliases: dict[str, str] = {}
        self._lost_aliases: frozenset[str] = frozenset()
        self._stamps: dict[str, str] = {}
        self._seen: dict[str, TableDocument] = {}
        self._read_all_at = self._started_at = clock()
        self._synced_at: float | None = None
        self._gone_at: float | None = None

    @property
    def staleness_s(self) -> float:
        """Seconds since the store was last read, or since the start where it never was."""
        since = self._started_at if self._synced_at is None else self._synced_at
        return max(0.0, self._clock() - since)

    async def read(self) -> None:
        """Look once. Raises `StoreError`."""
        async with aclosing(self._open_store()) as store:
            await self._look(store, self.classes.replace)

    async def run(self) -> None:
        """Follow the store until cancelled, whatever becomes of it."""
        wait_s = SHORTEST_WAIT_S
        while True:
            before = self._synced_at
            try:
                await self._follow()
            except StoreError as error:
                self.gone(error)
            except Exception as error:
                log.exception("following the store of latency tables failed")
                self.gone(StoreError(f"table store: {type(error).__name__}"))
            end_if_cancelled()
            wait_s = SHORTEST_WAIT_S if self._synced_at != before else 2 * wait_s
            wait_s = min(wait_s, LONGEST_WAIT_S)
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))  # not all gateways at once

    def gone(self, error: StoreError) -> None:
        """Note that the store cannot be read. The log says so once until it is back."""
        if self._gone_at is None:
            self._gone_at = self._clock()
            log.warning("latency tables: serving by the last ones known: %s", error)
        self.up = False

    async def _follow(self) -> None:
        store = self._open_store()
        async with aclosing(store), aclosing(store.looks(self._manifest.artifact_hash)) as looks:
            async for _ in looks:
                end_if_cancelled()  # with Redis a cancellation has been seen to get lost on the way
                await self._look(store, self.classes.replace_warm)
                end_if_cancelled()

    async def _look(
        self,
        store: TableStore,
        replace: Callable[[Mapping[str, StoredTable], Mapping[str, str]], None],
    ) -> None:
        """Read what the store says has changed, or everything where that is due, and serve by
        what is good of it."""
        everything = self._clock() >= self._read_all_at
        known = {} if everything else self._stamps
        found = await store.current(self._manifest.artifact_hash, known)
        look = _Look(self._kept, self.refused, self._seen, found)
        # Those that the store no longer knows stay, as tables do: what was taken back is empty.
        known_aliases = _well_formed(await store.aliases(self._manifest.artifact_hash))
        aliases = self._aliases | known_aliases
        lost_aliases = frozenset(a for a in aliases.keys() - known_aliases.keys() if aliases[a])
        for name, document in look.unread.items():
            await self._judge(store, look, name, document)
        if look.kept != self._kept or aliases != self._aliases:
            meant = {alias: name for alias, name in aliases.items() if name}
            await asyncio.to_thread(replace, look.kept, meant)
        self._say_lost(store, "tables of", look.lost - self.lost)
        self._say_lost(store, "device-class aliases", lost_aliases - self._lost_aliases)
        self._say(store, look, aliases)
        self._aliases, self._lost_aliases = aliases, lost_aliases
        self._kept, self.refused, self._seen = look.kept, look.refused, look.seen
        self.lost = look.lost
        self._stamps = {name: now.stamp for name, now in found.items()}
        self._synced_at = self._clock()
        if everything:
            self._read_all_at = self._synced_at + READ_ALL_EVERY_S

    async def _judge(
        self, store: TableStore, look: _Look, name: str, document: TableDocument
    ) -> None:
        """Take a table, or refuse it: then the last good one serves on. A process that knows
        none, for it has just begun, takes the newest good one that is older."""
        try:
            stored = await asyncio.to_thread(read_document, name, document, self._manifest)
        except RefusedTableError as error:
            look.refuse(name, document, error)
            if name not in look.kept:
                older = await self._newest_good(store, name, document.version)
                look.kept |= {} if older is None else {name: older}
            by = f"version {look.kept[name].version}" if name in look.kept else "no table of it"
            log.warning(
                "device class %r: version %d in %s is refused: %s; serving by %s",
                name[:_SHOWN], document.version, store.name, error, by,
                extra={"fields": {"device_class": name[:_SHOWN], "reason": error.reason}},
            )  # fmt: skip
        else:
            look.take(name, document, stored)

    async def _newest_good(self, store: TableStore, name: str, before: int) -> StoredTable | None:
        artifact_hash = self._manifest.artifact_hash
        versions = await store.versions(artifact_hash, name)
        older = [v for v in versions if v < before or before < 0]
        for version in sorted(older, reverse=True)[:_MOST_OLDER]:
            document = await store.document(artifact_hash, name, version)
            with suppress(RefusedTableError):
                if document is not None:
                    return await asyncio.to_thread(read_document, name, document, self._manifest)
        return None

    def _say_lost(self, store: TableStore, what: str, newly_lost: Iterable[str]) -> None:
        names = sorted(newly_lost)
        if names:
            log.warning(
                "%s has lost the %s %s: serving by the last ones known",
                store.name, what, ", ".join(names), extra={"fields": {"device_classes": names}},
            )  # fmt: skip

    def _say(self, store: TableStore, look: _Look, aliases: Mapping[str, str]) -> None:
        """The log's lines on what has changed since the last look."""
        if self._gone_at is not None:
            log.info(
                "latency tables: %s is back after %.1f s", store.name, self._clock() - self._gone_at
            )
        self._gone_at, self.up = None, True
        if self._synced_at is None:
            return
        for name in sorted(look.kept.keys() | self._kept.keys()):
            now = look.kept.get(name)
            if now != self._kept.get(name):
                fields = {"device_class": name, "version": now.version if now else 0}
                log.info("latency table", extra={"fields": fields})
        for alias in sorted(aliases):
            if aliases[alias] != self._aliases.get(alias, ""):
                fields = {"alias": alias, "device_class": aliases[alias]}
                log.info("device class alias", extra={"fields": fields})


def _well_formed(aliases: Mapping[str, str]) -> dict[str, str]:
    """Those of a store that may be: a damaged one has anything."""
    return {
        alias: name
        for alias, name in aliases.items()
        if is_device_class(alias) and (not name or is_device_class(name))
    }


class _Look:
    """What one look at a store comes to, begun from what was known before."""

    def __init__(
        self,
        kept: Mapping[str, StoredTable],
        refused: Mapping[str, RefusedTableError],
        seen: Mapping[str, TableDocument],
        found: Mapping[str, CurrentTable],
    ) -> None:
        withdrawn = {name for name, now in found.items() if now.version == 0}
        there = found.keys() - withdrawn
        self.kept = {name: stored for name, stored in kept.items() if name not in withdrawn}
        self.refused = {name: error for name, error in refused.items() if name in there}
        self.seen = {name: document for name, document in seen.items() if name in there}
        self.lost = frozenset(kept.keys() - found.keys())
        self.unread = {
            name: now.document
            for name, now in found.items()
            if now.document is not None and now.document != seen.get(name)
        }

    def take(self, name: str, document: TableDocument, stored: StoredTable) -> None:
        self.kept[name], self.seen[name] = stored, document
        self.refused.pop(name, None)

    def refuse(self, name: str, document: TableDocument, error: RefusedTableError) -> None:
        self.refused[name], self.seen[name] = error, document
