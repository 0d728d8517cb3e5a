"""Hands jobs to workers, in the order that the dispatcher decides.

Knows no engine: a worker is whatever runs a batch of jobs through a subnet and answers them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from gateway.engine_times import EngineTimes
from gateway.errors import DeadlineExceeded, GatewayError, QueueFull
from gateway.scheduling.dispatcher import Dispatcher, Limits
from gateway.scheduling.job import Job

RunBatch = Callable[[str, Sequence[Job]], Awaitable[None]]
"""Runs jobs through a subnet and settles the future of each. One batch after another."""
_Handed = tuple[str, list[Job]]

_LOG = logging.getLogger(__name__)


class Scheduler:
    """A task for each worker, which runs what `submit` takes: in one event loop, from the first
    `submit` there on until that ends."""

    def __init__(
        self,
        make_worker: Callable[[], RunBatch],
        times: EngineTimes,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`make_worker` is called in threads: it may take its time."""
        self._make_worker, self._clock = make_worker, clock
        self._dispatcher: Dispatcher[Job] = Dispatcher(times.expected_ms, limits)
        self._workers = range(limits.workers)
        self._tasks: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._idle: dict[int, asyncio.Future[_Handed]] = {}
        self.failures = 0  # of workers: each is replaced

    @property
    def pending(self) -> int:
        """How many jobs wait or run."""
        return self._dispatcher.pending

    @property
    def spread(self) -> float:
        """How unsteady runs are: `Lateness.spread`."""
        return self._dispatcher.spread

    def submit(self, job: Job) -> None:
        """Take a job: its future brings the answer, or `QueueFull` where it has to give way later.

        Raises `DeadlineExceeded` or `QueueFull` where it is turned away at once.
        """
        if asyncio.get_running_loop() is not self._loop:
            self._begin()
        admission = self._dispatcher.admit(job, self._now_ms())
        for loser in admission.given_way:
            loser.fail(QueueFull(self._dispatcher.retry_after_s))
        if admission.refused is not None:
            raise admission.refused
        self._hand_out()

    def forget(self, job: Job) -> None:
        """It is answered, or its caller has given it up."""
        self._dispatcher.forget(job)

    def waiting(self) -> list[Job]:
        """Those that wait now, whose turn is next first."""
        return list(self._dispatcher)

    def _begin(self) -> None:
        self._loop, self._idle = asyncio.get_running_loop(), {}
        self._tasks = [asyncio.create_task(self._work(worker)) for worker in self._workers]

    async def _work(self, worker: int) -> None:
        """What a task does. A worker that fails is replaced."""
        run = await self._made()
        while True:
            idle = self._idle[worker] = asyncio.get_running_loop().create_future()
            self._hand_out()
            subnet, jobs = await idle
            run = run or await self._made()
            ended_ms = None
            try:
                if run is not None:
                    await run(subnet, jobs)
                    ended_ms = self._now_ms()
            except Exception:
                self._failed()
                run = None
            finally:
                self._dispatcher.ended(worker, ended_ms)
                for job in jobs:
                    job.fail(GatewayError())  # where the worker did not answer it

    async def _made(self) -> RunBatch | None:
        try:
            return await asyncio.to_thread(self._make_worker)
        except Exception:
            self._failed()
            return None

    def _failed(self) -> None:
        """Of whatever kind: the task is needed."""
        self.failures += 1
        _LOG.exception("a worker failed; a new one takes its place")

    def _hand_out(self) -> None:
        """To those who are idle, as far as it goes."""
        while self._idle:
            worker = next(reversed(self._idle))  # what ran last has the most in its caches
            batch = self._next(worker)
            if batch is None:
                return
            idle = self._idle.pop(worker)
            if not idle.done():
                idle.set_result(batch)

    def _next(self, worker: int) -> _Handed | None:
        now_ms = self._now_ms()
        for late in self._dispatcher.give_up_late(now_ms):
            late.fail(DeadlineExceeded())
        while (batch := self._dispatcher.next(worker, now_ms)) is not None:
            subnet, jobs = batch
            if wanted := [job for job in jobs if not job.future.done()]:
                return subnet, wanted
            self._dispatcher.ended(worker)  # their callers gave them up in this moment
        return None

    def _now_ms(self) -> float:
        return self._clock() * 1000
