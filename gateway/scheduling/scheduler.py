"""Threads that run what is asked, in the order that the dispatcher decides.

Knows no engine: a worker is whatever runs a batch of jobs through a subnet and answers them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from gateway.engine_times import EngineTimes
from gateway.errors import DeadlineExceeded, GatewayError, QueueFull
from gateway.scheduling.dispatcher import Dispatcher, Limits
from gateway.scheduling.job import Job

RunBatch = Callable[[str, Sequence[Job]], None]
"""Runs jobs through a subnet and settles the future of each. Belongs to one thread."""

_LOG = logging.getLogger(__name__)


class Scheduler:
    """Threads that run what `submit` takes. Safe to use from any thread."""

    def __init__(
        self,
        make_worker: Callable[[], RunBatch],
        times: EngineTimes,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make_worker, self._clock = make_worker, clock
        self._changed = threading.Condition()
        self._dispatcher: Dispatcher[Job] = Dispatcher(times.expected_ms, limits)
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
        return self._dispatcher.pending

    def submit(self, job: Job) -> None:
        """Take a job: its future brings the answer, or `QueueFull` where it has to give way later.

        Raises `DeadlineExceeded` or `QueueFull` where it is turned away at once.
        """
        with self._changed:
            admission = self._dispatcher.admit(job, self._now_ms())
            for loser in admission.given_way:
                loser.fail(QueueFull(self._dispatcher.retry_after_s))
            if admission.refused is not None:
                raise admission.refused
            self._changed.notify()
        job.future.add_done_callback(lambda _: self._forget(job))

    def waiting(self) -> list[Job]:
        """Those that wait now, whose turn is next first."""
        with self._changed:
            return list(self._dispatcher)

    def close(self) -> None:
        """Run what waits, and return when all is done."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _forget(self, job: Job) -> None:
        with self._changed:
            self._dispatcher.forget(job)

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
                now_ms = self._now_ms()
                for late in self._dispatcher.give_up_late(now_ms):
                    late.fail(DeadlineExceeded())
                batch = self._dispatcher.next(threading.get_ident(), now_ms)
                if batch is not None:
                    subnet, jobs = batch
                    return subnet, [j for j in jobs if j.future.set_running_or_notify_cancel()]
                if self._closed:
                    return None
                self._changed.wait()

    def _ended(self, jobs: Sequence[Job]) -> None:
        with self._changed:
            self._dispatcher.ended(threading.get_ident())
        for job in jobs:
            job.fail(GatewayError())  # where the worker did not answer it

    def _now_ms(self) -> float:
        return self._clock() * 1000
