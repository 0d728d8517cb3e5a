"""The embedded store of latency tables: one SQLite file, used in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from gateway.stores.table_file import TableFile
from gateway.stores.tables import CurrentTable, TableDocument
from supernet.latency import LatencyTable

LOOK_EVERY_S = 0.5

T = TypeVar("T")


class EmbeddedStore:
    """A `TableStore` in the file at `path`. Another process's lock on the file never holds up
    the event loop. SQLite tells nobody of changes, so a look is due twice a second; one that
    finds nothing new costs a fraction of a millisecond."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = f"sqlite://{path.absolute()}"
        self._file = TableFile(path)
        self._thread = ThreadPoolExecutor(1, "table-file")

    async def put(self, table: LatencyTable) -> int:
        return await self._in_thread(lambda: self._file.put(table))

    async def put_over(self, table: LatencyTable, stamp: str) -> int | None:
        return await self._in_thread(lambda: self._file.put_over(table, stamp))

    async def current(
        self, artifact_hash: str, known: Mapping[str, str]
    ) -> dict[str, CurrentTable]:
        return await self._in_thread(lambda: self._file.current(artifact_hash, known))

    async def versions(self, artifact_hash: str, device_class: str) -> list[int]:
        return await self._in_thread(lambda: self._file.versions(artifact_hash, device_class))

    async def document(
        self, artifact_hash: str, device_class: str, version: int
    ) -> TableDocument | None:
        return await self._in_thread(
            lambda: self._file.document(artifact_hash, device_class, version)
        )

    async def rollback(self, artifact_hash: str, device_class: str, version: int) -> None:
        await self._in_thread(lambda: self._file.rollback(artifact_hash, device_class, version))

    async def delete(self, artifact_hash: str, device_class: str) -> bool:
        return await self._in_thread(lambda: self._file.delete(artifact_hash, device_class))

    async def prune(self, artifact_hash: str, device_class: str, versions: Collection[int]) -> None:
        await self._in_thread(lambda: self._file.prune(artifact_hash, device_class, versions))

    async def aliases(self, artifact_hash: str) -> dict[str, str]:
        return await self._in_thread(lambda: self._file.aliases(artifact_hash))

    async def set_alias(self, artifact_hash: str, alias: str, device_class: str) -> None:
        await self._in_thread(lambda: self._file.set_alias(artifact_hash, alias, device_class))

    async def share_evidence(
        self, artifact_hash: str, device_class: str, member: str, evidence: bytes, keep_s: float
    ) -> list[bytes]:
        return await self._in_thread(
            lambda: self._file.share_evidence(artifact_hash, device_class, member, evidence, keep_s)
        )

    async def looks(self, artifact_hash: str) -> AsyncGenerator[None]:  # noqa: ARG002
        while True:
            yield
            await asyncio.sleep(LOOK_EVERY_S)

    async def aclose(self) -> None:
        """Does not wait for what runs: the thread closes the file when it comes to it."""
        self._thread.submit(self._file.close)
        self._thread.shutdown(wait=False)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)
