"""Who is taken in, who has to give way, and what runs next: every decision, and nothing else.

Knows no threads, no clock and no engine, so that a simulation decides as a gateway does.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from gateway.errors import DeadlineExceeded, GatewayError, QueueFull
from gateway.scheduling.arrivals import MEMORY_MS, Arrivals
from gateway.scheduling.batching import (
    SUSTAINED,
    CostMs,
    Load,
    Waiting,
    next_batch,
    overdue_batch,
)
from gateway.scheduling.deadline_queue import DeadlineQueue, Queued
from gateway.scheduling.lateness import Lateness

PATIENCE_MS = 1000.0
"""A request without a deadline is queued as if it had one so far off: it can be overtaken, but not
for ever, and it steps down its ladder like any other. It is never given up. Those whose patience is
over get every second batch, so that neither they nor those with deadlines wait for the other."""
MARGIN = 2.05
"""A run may exceed what is expected of it by so many standard deviations; one in fifty does."""
CARE = 0.9
"""And by so many more through a dearer subnet than the cheapest: one in six hundred does more. A
crowd takes the larger risk for larger batches, nobody for a point of accuracy."""
SHORTEST_RETRY_S = 0.05
BURSTS_MS = 300_000.0
"""After a burst, by which some have to wait and more than `SUSTAINED` of the workers' time is taken
at its cheapest, another is reckoned with for so long."""
EXTRA = 0.15
"""What a batch may then take longer than through its cheapest subnet, of its first's whole time:
who comes when the next burst begins has to wait for it."""
LOSING_MS = 1000.0
"""For so long after one was lost to a crowd it may take nothing longer."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`max_pending` jobs wait or run; a batch has at most `max_rows` images, one job alone more."""

    max_pending: int
    max_rows: int
    workers: int = 1


class Dispatched(Waiting, Queued, Protocol):
    """A job, as far as decisions know it. Times are in ms; after `last_ms` an answer is worth
    nothing."""

    @property
    def last_ms(self) -> float: ...


J = TypeVar("J", bound=Dispatched)


@dataclass(frozen=True, slots=True)
class _Run:
    """What a worker does."""

    began_ms: float
    expected_ms: float

    @property
    def until_ms(self) -> float:
        return self.began_ms + self.expected_ms


@dataclass(frozen=True, slots=True)
class Admission(Generic[J]):
    """Why a newcomer was refused, None where it was not; and those who had to give way."""

    refused: GatewayError | None
    given_way: tuple[J, ...]


class Dispatcher(Generic[J]):
    """Those who wait, earliest deadline first, and those who run. For one thread at a time."""

    def __init__(self, expected_ms: CostMs, limits: Limits) -> None:
        self._expected_ms, self._limits = expected_ms, limits
        self._queue: DeadlineQueue[J] = DeadlineQueue()
        self._arrivals, self._burst_ms, self._lost_ms = Arrivals(), -math.inf, -math.inf
        self._runs: dict[Hashable, _Run] = {}  # by worker
        self._lateness = Lateness()
        self._pending: set[int] = set()  # by number
        self._had_overdue = False  # whether the last batch began with one past its patience

    def __iter__(self) -> Iterator[J]:
        """Those who wait, whose turn is next first."""
        return iter(self._queue)

    @property
    def pending(self) -> int:
        """How many wait or run."""
        return len(self._pending)

    @property
    def spread(self) -> float:
        """How unsteady runs are: `Lateness.spread`."""
        return self._lateness.spread

    @property
    def retry_after_s(self) -> float:
        """When who is turned away may come again."""
        work_ms = sum(job.least_ms for job in self._queue) / self._limits.workers
        return max(SHORTEST_RETRY_S, work_ms / 1000)

    def admit(self, job: J, now_ms: float) -> Admission[J]:
        """Take a job in, where it can be on time and there is place: the newcomer gives way, or
        those of a class that has more."""
        losers: list[J] = []
        error = self._late_alone(job, now_ms)
        if error is None:
            error = self._make_room(job, now_ms, losers)
            if error is not None or losers:
                self._has_lost(now_ms)
        if error is not None:
            for loser in losers:  # for nothing: they stay
                self._take_in(loser)
            return Admission(error, ())
        self._take_in(job)
        self._arrivals.add(job.least_ms, now_ms)
        if self.pending > self._limits.workers and self._busy(now_ms) > SUSTAINED:
            self._burst_ms = now_ms
        return Admission(None, tuple(losers))

    def _make_room(self, job: J, now_ms: float, losers: list[J]) -> GatewayError | None:
        """Take out who has to give way for a job, into `losers`: of its time no more than the job
        itself takes. Why it cannot be taken even so; None where it can."""
        freed_ms = 0.0
        while (error := self._too_many(job, now_ms)) is not None:
            is_late = isinstance(error, DeadlineExceeded)  # those after it take none of its time
            loser = self._queue.gives_way(job, before=is_late)
            if loser is job or freed_ms >= job.least_ms:
                return error
            self.forget(loser)
            losers.append(loser)
            freed_ms += loser.least_ms if is_late else 0.0
        return None

    def _take_in(self, job: J) -> None:
        self._queue.add(job)
        self._pending.add(job.number)

    def forget(self, job: J) -> None:
        """It is answered, or its caller has given it up."""
        self._pending.discard(job.number)
        self._queue.remove(job)

    def give_up_late(self, now_ms: float) -> list[J]:
        """Those whose deadline nothing can meet any more, forgotten; they are the first."""
        late = []
        while (job := self._queue.first) and now_ms + job.least_ms > job.last_ms:
            self.forget(job)
            late.append(job)
            self._has_lost(now_ms)
        return late

    def next(self, worker: Hashable, now_ms: float) -> tuple[str, list[J]] | None:
        """The subnet and those who run together through it, on a free worker; None where nobody
        waits."""
        if (first := self._queue.first) is None:
            return None
        # A rate is taken to hold for as long as it has been looked at, and no longer.
        window_ms = min(first.until_ms - first.arrived_ms, MEMORY_MS)
        limits, busy, extra = self._limits, self._busy(now_ms), self._extra(now_ms)
        margin, care = (self._lateness.margin(deviations) for deviations in (MARGIN, CARE))
        load = Load(limits.workers, limits.max_rows, margin, busy, window_ms, extra, care)
        queue = list(self._queue)
        if first.until_ms < now_ms and not self._had_overdue:
            batch = overdue_batch(queue, self._expected_ms, load)
        else:
            batch = next_batch(queue, now_ms, self._expected_ms, load)
        self._had_overdue = queue[batch.places[0]].until_ms < now_ms
        jobs = self._queue.take(batch.places)
        rows = sum(job.rows for job in jobs)
        self._runs[worker] = _Run(now_ms, self._expected_ms(batch.subnet, rows))
        return batch.subnet, jobs

    def ended(self, worker: Hashable, now_ms: float | None = None) -> None:
        """The worker is free again; `now_ms` where it has run what it was handed."""
        run = self._runs.pop(worker)
        if now_ms is not None:
            self._lateness.record(run.expected_ms, now_ms - run.began_ms)

    def _has_lost(self, now_ms: float) -> None:
        """One more than can be done. Where little comes in, it was no crowd that it was lost to."""
        if self._busy(now_ms) > SUSTAINED:
            self._lost_ms = now_ms

    def _extra(self, now_ms: float) -> float:
        """What a batch may take longer than through its cheapest subnet: `Load.extra`."""
        if now_ms - self._lost_ms < LOSING_MS:
            return 0.0
        return EXTRA if now_ms - self._burst_ms < BURSTS_MS else math.inf

    def _busy(self, now_ms: float) -> float:
        """The share of the workers' time that what comes in takes at its cheapest."""
        return self._arrivals.rate(now_ms) / self._limits.workers

    def _late_alone(self, job: J, now_ms: float) -> GatewayError | None:
        """Whether it would be late with nobody before it."""
        return DeadlineExceeded() if now_ms + job.least_ms > job.last_ms else None

    def _too_many(self, job: J, now_ms: float) -> GatewayError | None:
        """Why a job cannot be taken with all that wait; None where it can."""
        if self.pending >= self._limits.max_pending:
            return QueueFull(self.retry_after_s)
        work_ms, workers = 0.0, self._limits.workers
        free_ms = self._free_ms(now_ms)
        for other in (*self._queue.before(job), job):
            ends_ms = free_ms + work_ms / workers + other.least_ms
            if ends_ms <= other.last_ms:
                work_ms += other.least_ms
            elif other is job:
                return DeadlineExceeded()
        return None  # those before it that will be late by themselves take no time

    def _free_ms(self, now_ms: float) -> float:
        """When the next worker is expected to be free."""
        if len(self._runs) < self._limits.workers:
            return now_ms
        return max(now_ms, min(run.until_ms for run in self._runs.values()))
