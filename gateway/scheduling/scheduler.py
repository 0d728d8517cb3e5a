"""One queue, earliest deadline first: takes jobs in or turns them away, hands batches to workers.

Knows no engine: a worker is whatever runs a batch of jobs through a subnet and answers them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from gateway.engine_times import EngineTimes
from gateway.errors import DeadlineExceeded, GatewayError, QueueFull
from gateway.scheduling.batching import Load, next_batch
from gateway.scheduling.deadline_queue import DeadlineQueue
from gateway.scheduling.job import PATIENCE_MS, Arrivals, Job

RunBatch = Callable[[str, Sequence[Job]], None]
"""Runs jobs through a subnet and settles the future of each. Belongs to one thread."""

MARGIN = 1.3  # a run may take so many times what is expected of it
SHORTEST_RETRY_S = 0.05
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """`max_pending` jobs wait or run; a batch has at most `max_rows` images, one job alone more."""

    max_pending: int
    max_rows: int
    workers: int = 1


class Scheduler:
    """Threads that run what `submit` takes. Safe to use from any thread."""

    def __init__(
        self,
        make_worker: Callable[[], RunBatch],
        times: EngineTimes,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make_worker, self._times, self._limits, self._clock = (
            make_worker,
            times,
            limits,
            clock,
        )
        self._changed = threading.Condition()
        self._queue: DeadlineQueue[Job] = DeadlineQueue()
        self._arrivals = Arrivals()
        self._busy_until: dict[int, float] = {}  # by thread, expected, in ms
        self._pending = 0
        self._closed = False
        self.failures = 0  # of workers: each is replaced
        self._threads = [
            threading.Thread(target=self._work, name=f"engine-{n}") for n in range(limits.workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pending(self) -> int:
        """How many jobs wait or run."""
        return self._pending

    def submit(self, job: Job) -> None:
        """Take a job: its future brings the answer, or `QueueFull` where it has to give way later.

        Raises `DeadlineExceeded` or `QueueFull` where it is turned away at once.
        """
        with self._changed:
            self._make_place(job)
            self._queue.add(job)
            self._pending += 1
            self._arrivals.add(job.least_ms, self._now_ms())
            self._changed.notify()
        job.future.add_done_callback(lambda _: self._forget(job))

    def waiting(self) -> list[Job]:
        """Those that wait now, whose turn is next first."""
        with self._changed:
            return list(self._queue)

    def close(self) -> None:
        """Run what waits, and return when all is done."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    # admission, under the lock

    def _make_place(self, job: Job) -> None:
        """Turn away whoever is one too many, the newcomer or those of a class that has more."""
        self._check_alone(job)
        while (error := self._too_many(job)) is not None:
            loser = self._queue.gives_way(job)
            if loser is job:
                raise error
            self._queue.remove(loser)
            loser.fail(QueueFull(self._retry_after_s()))

    def _check_alone(self, job: Job) -> None:
        """Raise `DeadlineExceeded` where the job would be late with nobody before it."""
        if self._now_ms() + job.least_ms > job.last_ms:
            raise DeadlineExceeded()

    def _too_many(self, job: Job) -> GatewayError | None:
        """Why a job cannot be taken with all that wait; None where it can."""
        if self._pending >= self._limits.max_pending:
            return QueueFull(self._retry_after_s())
        before = sum(other.least_ms for other in self._queue.before(job))
        starts_ms = self._free_ms() + before / self._limits.workers
        late = starts_ms + job.least_ms > job.last_ms
        return DeadlineExceeded() if late else None

    def _free_ms(self) -> float:
        """When the next worker is expected to be free."""
        now = self._now_ms()
        if len(self._busy_until) < self._limits.workers:
            return now
        return max(now, min(self._busy_until.values()))

    def _retry_after_s(self) -> float:
        work_ms = sum(job.least_ms for job in self._queue) / self._limits.workers
        return max(SHORTEST_RETRY_S, work_ms / 1000)

    def _forget(self, job: Job) -> None:
        """A job that is answered, or that its caller has given up."""
        with self._changed:
            self._pending -= 1
            if job.future.cancelled():
                self._queue.remove(job)

    # workers

    def _work(self) -> None:
        """What a thread does until the end. A worker that fails is replaced."""
        workers: list[RunBatch] = []  # one, or none after a failure
        with self._failing():
            workers.append(self._make_worker())
        while (batch := self._next()) is not None:
            subnet, jobs = batch
            with self._failing():
                worker = workers.pop() if workers else self._make_worker()
                worker(subnet, jobs)
                workers.append(worker)
            self._ended(jobs)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Count and log what a worker dies of, of whatever kind: its thread is needed."""
        try:
            yield
        except BaseException:
            self.failures += 1
            _LOG.exception("a worker failed; a new one takes its place")

    def _next(self) -> tuple[str, list[Job]] | None:
        """The next batch, as soon as there is one; None at the end."""
        with self._changed:
            while True:
                self._give_up_late()
                if (first := self._queue.first) is not None:
                    return self._taken(first)
                if self._closed:
                    return None
                self._changed.wait()

    def _taken(self, first: Job) -> tuple[str, list[Job]]:
        now = self._now_ms()
        window_ms = min(first.until_ms - first.arrived_ms, PATIENCE_MS)  # no rate holds for long
        work = self._arrivals.rate(now) * window_ms / 2
        load = Load(
            self._limits.workers, self._limits.max_rows, MARGIN, work / self._limits.workers
        )
        batch = next_batch(list(self._queue), now, self._times.expected_ms, load)
        jobs = self._queue.take(batch.places)
        rows = sum(job.rows for job in jobs)
        ends_ms = now + self._times.expected_ms(batch.subnet, rows)
        self._busy_until[threading.get_ident()] = ends_ms
        return batch.subnet, [job for job in jobs if job.future.set_running_or_notify_cancel()]

    def _give_up_late(self) -> None:
        """Answer those whose deadline nothing can meet any more; they are the first."""
        now = self._now_ms()
        while (job := self._queue.first) and now + job.least_ms > job.last_ms:
            self._queue.remove(job)
            job.fail(DeadlineExceeded())

    def _ended(self, jobs: Sequence[Job]) -> None:
        with self._changed:
            del self._busy_until[threading.get_ident()]
        for job in jobs:
            job.fail(GatewayError())  # where the worker did not answer it

    def _now_ms(self) -> float:
        return self._clock() * 1000
