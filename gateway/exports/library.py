"""Exports, each built once for all who want it at the same time, and while somebody does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

from gateway import logs
from gateway.errors import CannotExport, GatewayError
from gateway.exports.builder import Builder
from gateway.exports.cache import ExportCache
from gateway.exports.entry import NO_ROOM, Export, write_entry
from gateway.exports.key import ExportKey
from gateway.exports.metrics import ExportMetrics
from gateway.exports.workplace import workplace

T = TypeVar("T")
A = TypeVarTuple("A")

_THREADS = 4  # for the disk: a slow one holds up no request


class _Search:
    """An export being looked for or built, and how many wait for it."""

    def __init__(self, task: asyncio.Task[Export]) -> None:
        self.task, self.waiting = task, 0


class ExportLibrary:
    """Belongs to one event loop; what touches the disk runs in threads of its own.

    `max_builds` processes build at once; who else wants something new waits.
    """

    def __init__(
        self, cache: ExportCache, builder: Builder, max_builds: int, metrics: ExportMetrics
    ) -> None:
        self._cache, self._builder, self._metrics = cache, builder, metrics
        self._slots = asyncio.Semaphore(max_builds)
        self._searches: dict[ExportKey, _Search] = {}
        self._tasks: set[asyncio.Task[Export]] = set()
        self._threads = ThreadPoolExecutor(_THREADS, "exports")

    async def start(self) -> None:
        """Put the folder in order. One that cannot be used is said in the log: a gateway serves
        without it, and asks again at each export."""
        try:
            await self._in_thread(self._cache.clean)
        except OSError as error:
            logs.warn("no folder for exports", folder=str(error.filename), reason=error.strerror)

    async def open(self, key: ExportKey) -> Export:
        """The export, from the cache or built now; to be handed back with `close_export`.

        A caller that gives up (cancels) leaves; with the last one the build ends. Raises
        `CannotExport`; anything else is a bug or a disk that fails.
        """
        search = self._searches.get(key) or self._begin(key)
        search.waiting += 1
        try:
            found = await asyncio.shield(search.task)
            return found.again()
        finally:
            search.waiting -= 1
            if search.waiting == 0:
                self._end(key, search)

    async def read(self, export: Export, offset: int, size: int) -> bytes:
        """A part of an export."""
        return await self._in_thread(export.read, offset, size)

    def close_export(self, export: Export) -> None:
        """What has been kept beyond the bound because it was read may go now."""
        export.close()
        self._trim_soon()

    async def close(self) -> None:
        """End what is being built."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._threads.shutdown()

    def _begin(self, key: ExportKey) -> _Search:
        task = asyncio.create_task(self._find(key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        search = self._searches[key] = _Search(task)
        return search

    def _end(self, key: ExportKey, search: _Search) -> None:
        if self._searches.get(key) is search:
            del self._searches[key]
        if search.task.done():
            _close_found(search.task)
        else:
            search.task.cancel()
            search.task.add_done_callback(_close_found)

    async def _find(self, key: ExportKey) -> Export:
        try:
            found = await self._in_thread(self._cache.open, key)
            return found or await self._build_alone(key)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise CannotExport.for_want_of_room() from error
            raise

    async def _build_alone(self, key: ExportKey) -> Export:
        """Build, unless another process that had the workplace before has done so."""
        folder = self._cache.workplace(key)
        async with self._slots, workplace(folder) as lock:
            found = await self._in_thread(self._cache.open, key)
            if found is not None:
                return found
            with self._metrics.building(key.format):
                began = time.monotonic()
                built = await self._build(key, folder, lock)
            seconds = round(time.monotonic() - began, 3)
            size = built.record.size
            logs.log_event(
                "export built", subnet=key.subnet, format=key.format, bytes=size, seconds=seconds
            )
            self._trim_soon()
            return built

    async def _build(self, key: ExportKey, folder: Path, lock: int) -> Export:
        try:
            files = await self._builder.build(key, folder, lock)
            entry = folder / "entry"
            await self._in_thread(write_entry, key.subnet, key.format, files, entry)
            return await self._in_thread(self._cache.put, key, entry)
        except Exception as error:
            reason = error.safe_message if isinstance(error, GatewayError) else str(error)
            logs.warn("export failed", subnet=key.subnet, format=key.format, reason=reason)
            raise

    def _trim_soon(self) -> None:
        with suppress(RuntimeError):  # closed meanwhile
            self._threads.submit(self._cache.trim)

    async def _in_thread(self, work: Callable[[*A], T], *arguments: *A) -> T:
        """A thread cannot be cancelled. Who waits for it and is, goes on when it has ended, for
        nobody to meet its work half-done, and an export that it has opened is closed."""
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._threads, work, *arguments)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait({future})
            if future.exception() is None and isinstance(found := future.result(), Export):
                found.close()
            raise


def _close_found(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()
