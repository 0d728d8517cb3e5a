"""Moves latency tables to what clients report: looks at the evidence now and then.

Runs beside the requests. All gateways of a store share their evidence through it, so that each
comes to the same; a put that another gateway or a person has overtaken changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from statistics import median

from gateway.cancellation import end_if_cancelled
from gateway.config import LearningConfig
from gateway.device_classes import DeviceClasses
from gateway.learning.evidence import Evidence, merged, read_evidence
from gateway.learning.learned_table import Bounds, learned_table, reported_ratios
from gateway.learning.learned_versions import LearnedVersions
from gateway.learning.report_book import ReportBook
from gateway.stores.tables import StoredTable, StoreError, StoreUnavailableError, TableStore
from supernet.latency import LatencyTable
from supernet.manifest import Manifest

LOOKS_AN_INTERVAL = 4
_KEPT_INTERVALS = 2.0  # how long a gateway that has gone is still heard

log = logging.getLogger(__name__)


class Learner:
    """Looks at what a report book has, a few times in each interval.

    `drift` is reported latency / the table's by device class, the median over subnets, where
    there is enough evidence; it may be read from any thread. `published` is called with the name
    of each class whose table was moved. `member` is what this gateway is called in tables.
    """

    def __init__(
        self,
        classes: DeviceClasses,
        manifest: Manifest,
        book: ReportBook,
        config: LearningConfig,
        open_store: Callable[[], TableStore],
        *,
        published: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.member = secrets.token_hex(4)
        self.drift: Mapping[str, float] = {}
        self._classes, self._book = classes, book
        self._config, self._open_store = config, open_store
        self._published, self._clock = published, clock
        self._versions = LearnedVersions(classes, manifest, config.keep_versions)
        self._bounds = Bounds(
            config.min_clients, config.min_change, config.max_step, config.max_total
        )
        self._since: dict[str, tuple[int, float]] = {}
        self._store_failed = False
        self._failed: set[str] = set()

    async def run(self) -> None:
        """Look until cancelled, whatever becomes of it."""
        pause_s = self._config.interval_s / LOOKS_AN_INTERVAL
        while True:
            await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))  # not all gateways at once
            try:
                await self.look()
                self._store_failed = False
            except StoreError as error:
                if not self._store_failed:
                    log.warning("latency tables are not learned: %s", error)
                self._store_failed = True
            except Exception:
                log.exception("learning latency tables failed")
            end_if_cancelled()

    async def look(self) -> None:
        """Move every table for which there is reason. Raises `StoreError`."""
        tables = [self._classes.known(name) for name in sorted(self._book.names)]
        drift: dict[str, float] = {}
        async with aclosing(self._open_store()) as store:
            for stored in tables:
                if stored is not None:
                    await self._look_past_damage(store, stored, drift)
        self.drift = drift

    async def _look_past_damage(
        self, store: TableStore, stored: StoredTable, drift: dict[str, float]
    ) -> None:
        """What is wrong with one device class in a store that answers must not stop the others."""
        name = stored.table.device_class
        try:
            await self._look_at(store, stored, drift)
            self._failed.discard(name)
        except StoreUnavailableError:
            raise
        except StoreError as error:
            if name not in self._failed:
                log.warning("device class %r: its latency table is not learned: %s", name, error)
            self._failed.add(name)

    async def _look_at(
        self, store: TableStore, stored: StoredTable, drift: dict[str, float]
    ) -> None:
        evidence = await self._evidence(store, stored)
        ratios = reported_ratios(stored.table, evidence, self._bounds.min_clients)
        if ratios:
            drift[stored.table.device_class] = median(ratios.values())
        if not self._has_rested(stored):
            return
        base = await self._versions.base_of(store, stored)
        if base is None:
            return
        table = await asyncio.to_thread(learned_table, base, stored, evidence, self._bounds)
        if table is not None:
            table = table.model_copy(update={"created_by": f"gateway {self.member}"})
            await self._publish(store, stored, table)

    async def _evidence(self, store: TableStore, stored: StoredTable) -> Evidence:
        """All gateways', where this one has some of its own."""
        own = await self._book.evidence(stored)
        if not own.estimates:
            return own
        document = await asyncio.to_thread(own.document)
        table, keep_s = stored.table, _KEPT_INTERVALS * self._config.interval_s
        shared = await store.share_evidence(
            table.artifact_hash, table.device_class, self.member, document, max(keep_s, 1.0)
        )
        return await asyncio.to_thread(lambda: merged(own.base, map(read_evidence, shared)))

    def _has_rested(self, stored: StoredTable) -> bool:
        """Whether a learned version has been current for an interval, whoever has put it there."""
        name, now = stored.table.device_class, self._clock()
        version, since = self._since.get(name, (stored.version, now))
        if version != stored.version:
            since = now
        self._since[name] = (stored.version, since)
        return stored.table.kind != "learned" or now - since >= self._config.interval_s

    async def _publish(self, store: TableStore, over: StoredTable, table: LatencyTable) -> None:
        version = await self._versions.put(store, over, table)
        if version is None:
            return
        name = table.device_class
        self._since[name] = (version, self._clock())
        self._published(name)
        fields = {"device_class": name, "version": version, "source": table.source}
        log.info("latency table learned", extra={"fields": fields})
        await self._versions.prune(store, name, version)
