"""The queue and its workers: who runs, who is turned away, what a failing worker costs."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from gateway.engine_times import EngineTimes
from gateway.engines.costs import Line
from gateway.errors import DeadlineExceeded, GatewayError, QueueFull
from gateway.request import Answer, ImageInput, Selection
from gateway.scheduling.dispatcher import Limits
from gateway.scheduling.job import Job
from gateway.scheduling.ladder import Ladder
from gateway.scheduling.scheduler import Scheduler
from gateway.select import Candidate
from tests.gateway.following import until

SMALL, LARGE = Candidate("small", 16, 0.8, 1.0), Candidate("large", 16, 0.9, 2.0)
BOTH = Ladder((LARGE, SMALL), {"large": LARGE, "small": SMALL})
ONLY_SMALL = Ladder((SMALL,), {"small": SMALL})
LINES = {"small": Line(1.0, 1.0), "large": Line(2.0, 80.0)}
NUMBERS = itertools.count()


def job(within_ms: float | None = None, device_class: str = "a", ladder: Ladder = BOTH) -> Job:
    now = time.monotonic() * 1000
    deadline = None if within_ms is None else now + within_ms
    return Job(ImageInput(b""), 1, device_class, ladder, now, deadline, next(NUMBERS), 1.0)


class Worker:
    """Answers every job by its subnet's name, once its gate is open."""

    def __init__(self) -> None:
        self.gate, self.entered = asyncio.Event(), asyncio.Semaphore(0)
        self.gate.set()
        self.batches: list[tuple[str, list[int]]] = []
        self.fails = 0

    async def __call__(self, subnet: str, jobs: Sequence[Job]) -> None:
        self.entered.release()
        await asyncio.wait_for(self.gate.wait(), 30)
        if self.fails:
            self.fails -= 1
            raise MemoryError
        self.batches.append((subnet, [job.number for job in jobs]))
        for each in jobs:
            chosen = each.ladder.subnets[subnet]
            selection = Selection(subnet, chosen.accuracy, chosen.latency_ms, False)
            each.succeed(Answer(np.zeros((1, 2), np.float32), (0,), selection, 1.0, 0.0, 1))

    async def occupy(self, scheduler: Scheduler, ladder: Ladder = ONLY_SMALL) -> Job:
        """Keep the worker busy with a job until the gate opens."""
        self.gate.clear()
        first = job(ladder=ladder)
        scheduler.submit(first)
        await asyncio.wait_for(self.entered.acquire(), 10)
        return first


Make = Callable[..., Scheduler]


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def make(worker: Worker) -> Make:
    def build(max_pending: int = 100, max_rows: int = 8) -> Scheduler:
        times = EngineTimes(LINES.__getitem__)
        return Scheduler(lambda: worker, times, Limits(max_pending, max_rows))

    return build


async def answered(job: Job) -> Answer:
    return await asyncio.wait_for(job.future, 10)


async def test_an_idle_gateway_answers_with_the_best(make: Make) -> None:
    one = job(within_ms=5000)
    make().submit(one)
    assert (await answered(one)).selection.subnet == "large"


async def test_the_most_urgent_is_next_and_equals_share_a_batch(make: Make, worker: Worker) -> None:
    scheduler = make()
    await worker.occupy(scheduler)
    late, early, none = job(within_ms=9000), job(within_ms=8000), job()
    urgent = job(within_ms=900, ladder=ONLY_SMALL)
    for each in (late, early, none, urgent):
        scheduler.submit(each)
    worker.gate.set()
    for each in (late, early, none, urgent):
        await answered(each)
    assert [numbers for _, numbers in worker.batches[1:]] == [
        [urgent.number],
        [none.number, early.number, late.number],
    ]


async def test_a_full_queue_says_when_to_come_again(make: Make, worker: Worker) -> None:
    scheduler = make(max_pending=2)
    await worker.occupy(scheduler)
    scheduler.submit(job())
    with pytest.raises(QueueFull) as caught:
        scheduler.submit(job())
    assert caught.value.retry_after_s > 0
    assert scheduler.pending == 2


async def test_a_class_with_few_waiting_takes_the_place_of_one_with_many(
    make: Make, worker: Worker
) -> None:
    scheduler = make(max_pending=4)
    await worker.occupy(scheduler)
    many = [job(within_ms=5000 + n, device_class="many") for n in range(3)]
    few = job(within_ms=5000, device_class="few")
    for each in (*many, few):
        scheduler.submit(each)
    with pytest.raises(QueueFull):
        await answered(many[-1])
    worker.gate.set()
    for each in (*many[:2], few):
        await answered(each)


async def test_what_cannot_be_in_time_is_turned_away_at_once(make: Make, worker: Worker) -> None:
    scheduler = make()
    with pytest.raises(DeadlineExceeded):
        scheduler.submit(job(within_ms=0.5))
    await worker.occupy(scheduler, BOTH)  # the large one is expected to take longer than this test
    for _ in range(20):
        scheduler.submit(job(within_ms=5000))
    with pytest.raises(DeadlineExceeded):
        scheduler.submit(job(within_ms=1.5))


async def test_what_has_become_late_is_not_run(make: Make, worker: Worker) -> None:
    scheduler = make()
    await worker.occupy(scheduler)
    late = job(within_ms=40)
    scheduler.submit(late)
    await asyncio.sleep(0.06)
    worker.gate.set()
    with pytest.raises(DeadlineExceeded):
        await answered(late)
    assert all(late.number not in numbers for _, numbers in worker.batches)


async def test_a_caller_that_gives_up_frees_its_place(make: Make, worker: Worker) -> None:
    scheduler = make(max_pending=2)
    await worker.occupy(scheduler)
    given_up = job()
    scheduler.submit(given_up)
    scheduler.forget(given_up)
    assert scheduler.pending == 1
    scheduler.submit(job())


async def test_what_its_caller_has_given_up_in_this_moment_is_not_run(
    make: Make, worker: Worker
) -> None:
    scheduler = make()
    await worker.occupy(scheduler)
    given_up, after = job(), job(ladder=ONLY_SMALL)
    for each in (given_up, after):
        scheduler.submit(each)
    assert given_up.future.cancel()
    worker.gate.set()
    await answered(after)
    assert all(given_up.number not in numbers for _, numbers in worker.batches)


async def test_a_worker_that_fails_is_replaced(
    make: Make, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = make()
    worker.fails = 1
    poisoned, after = job(), job()
    scheduler.submit(poisoned)
    with pytest.raises(GatewayError):
        await answered(poisoned)
    scheduler.submit(after)
    assert (await answered(after)).selection.subnet == "large"
    assert scheduler.failures == 1
    assert "a worker failed" in caplog.text


async def test_a_worker_that_cannot_be_made_is_tried_again(worker: Worker) -> None:
    failing = True

    def make_worker() -> Worker:
        if failing:
            raise MemoryError
        return worker

    scheduler = Scheduler(make_worker, EngineTimes(LINES.__getitem__), Limits(10, 8))
    refused, after = job(), job()
    scheduler.submit(refused)
    with pytest.raises(GatewayError):
        await answered(refused)
    failing = False
    scheduler.submit(after)
    assert (await answered(after)).selection.subnet == "large"
    assert scheduler.failures == 2


async def test_jobs_that_come_one_after_another_go_to_workers_that_are_idle() -> None:
    workers: list[Worker] = []

    def make_worker() -> Worker:
        workers.append(Worker())
        workers[-1].gate.clear()
        return workers[-1]

    limits = Limits(10, 8, workers=2)
    scheduler = Scheduler(make_worker, EngineTimes(LINES.__getitem__), limits)
    first, second = job(), job()
    scheduler.submit(first)
    await until(lambda: len(workers) == 2, 10)
    scheduler.submit(second)  # before anything else runs on the loop
    for worker in workers:
        await asyncio.wait_for(worker.entered.acquire(), 10)
        worker.gate.set()
    for each in (first, second):
        await answered(each)
    assert sorted(len(worker.batches[0][1]) for worker in workers) == [1, 1]


async def test_under_load_smaller_subnets_come_before_lateness(make: Make, worker: Worker) -> None:
    scheduler = make(max_rows=4)
    await worker.occupy(scheduler)
    jobs = [job(within_ms=1000) for _ in range(12)]
    for each in jobs:
        each.least_ms = 60.0  # the 8 that wait for the first batch: 624 ms with the margin
        scheduler.submit(each)
    worker.gate.set()
    for each in jobs:
        await answered(each)
    assert worker.batches[1][0] == "small"
