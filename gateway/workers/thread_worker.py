"""A thread of this process that runs batches."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from gateway.workers.batch import Batch, Outcome
from gateway.workers.executor import Executor


class ThreadWorker:
    """Runs an executor's batches in a thread of its own."""

    def __init__(self, executor: Executor) -> None:
        self._executor, self._thread = executor, ThreadPoolExecutor(1, "engine")

    async def run(self, batch: Batch) -> Outcome:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._executor.run, batch)

    def close(self) -> None:
        """Return once a batch under way has ended."""
        self._thread.shutdown()
