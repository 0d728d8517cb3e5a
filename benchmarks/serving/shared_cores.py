"""A gateway and its client on the same few cores, simulated: the scheduler's own decisions.

Client, event loop and each worker are threads that do one thing after another; while more of them
have something to do than there are cores, each gets its part. That is what a burst does to a
gateway on two cores, and what `compofa plan`, whose runs take what is expected, leaves out. The
scheduler expects of runs what a gateway's would: corrected by those that have ended.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.capacity.traffic import Times
from gateway.engine_times import EngineTimes
from gateway.engines.costs import Line
from gateway.scheduling.dispatcher import Dispatcher, Limits
from gateway.scheduling.ladder import Ladder

MAX_PENDING, MAX_ROWS = 512, 8
Task = tuple[float, Callable[[], None]]
"""Milliseconds of a core, and what follows."""


@dataclass(frozen=True, slots=True)
class Machine:
    """`cores`; milliseconds of one that client, loop and workers take; runs are `noise` off, the
    standard deviation of the logarithm."""

    cores: int = 2
    send: float = 0.45
    receive: float = 0.25
    admit: float = 0.55
    answer: float = 0.15
    batch: float = 0.5
    decode: float = 1.0
    noise: float = 0.2


@dataclass(slots=True, eq=False)
class Request:
    """What `Dispatcher` knows of a job, and when its client meant to ask."""

    number: int
    due_ms: float
    ladder: Ladder
    arrived_ms: float
    until_ms: float
    least_ms: float
    rows: int = 1
    device_class: str = ""

    @property
    def last_ms(self) -> float:
        return self.until_ms


@dataclass(slots=True)
class Simulation:
    """One gateway with a worker a core. `lines` are what runs take with a core to themselves.

    `delivered` has, of each request that was answered in time, when it was due and the accuracy.
    """

    machine: Machine
    lines: Mapping[str, Line]
    ladder: Ladder
    deadline_ms: float
    now_ms: float = 0.0
    delivered: list[tuple[float, float]] = field(default_factory=list)
    _came: int = 0
    _rng: random.Random = field(default_factory=lambda: random.Random(0))
    _client: deque[Task] = field(default_factory=deque)
    _loop: deque[Task] = field(default_factory=deque)
    _workers: list[deque[Task]] = field(default_factory=list)
    _idle: list[int] = field(default_factory=list)
    _times: EngineTimes = field(init=False)
    _dispatcher: Dispatcher[Request] = field(init=False)

    def __post_init__(self) -> None:
        workers = self.machine.cores
        self._times = EngineTimes(self.lines.__getitem__, lambda: self.now_ms / 1000)
        limits = Limits(MAX_PENDING, MAX_ROWS, workers)
        self._dispatcher = Dispatcher(self._times.expected_ms, limits)
        self._workers, self._idle = [deque() for _ in range(workers)], list(range(workers))

    def run(self, arrivals_ms: Times) -> None:
        """Until all that came is answered or lost."""
        coming = deque(arrivals_ms.tolist())
        while True:
            busy = [queue for queue in (self._client, self._loop, *self._workers) if queue]
            if not busy and not coming:
                return
            share = min(1.0, self.machine.cores / len(busy)) if busy else 1.0
            until_ms = min((self.now_ms + queue[0][0] / share for queue in busy), default=math.inf)
            next_ms = min(until_ms, coming[0] if coming else math.inf)
            for queue in busy:
                left, then = queue[0]
                queue[0] = (left - (next_ms - self.now_ms) * share, then)
            self.now_ms = next_ms
            if next_ms < until_ms:
                self._ask(coming.popleft())
            for queue in busy:
                if queue[0][0] <= 1e-9:
                    queue.popleft()[1]()

    def _ask(self, due_ms: float) -> None:
        self._client.append((self.machine.send, lambda: self._sent(due_ms)))

    def _sent(self, due_ms: float) -> None:
        until_ms = due_ms + self.deadline_ms
        self._loop.append((self.machine.admit, lambda: self._admit(due_ms, until_ms)))

    def _admit(self, due_ms: float, until_ms: float) -> None:
        if self.now_ms >= until_ms:
            return
        self._came += 1
        least_ms = self._times.expected_ms(self.ladder.cheapest.subnet, MAX_ROWS) / MAX_ROWS
        request = Request(self._came, due_ms, self.ladder, self.now_ms, until_ms, least_ms)
        if self._dispatcher.admit(request, self.now_ms).refused is None:
            self._hand_out()

    def _hand_out(self) -> None:
        while self._idle:
            self._dispatcher.give_up_late(self.now_ms)
            batch = self._dispatcher.next(self._idle[-1], self.now_ms)
            if batch is None:
                return
            self._begin(self._idle.pop(), *batch)

    def _begin(self, worker: int, subnet: str, jobs: list[Request]) -> None:
        began_ms, rows, run_began_ms = self.now_ms, len(jobs), 0.0
        run_ms = self.lines[subnet].ms(rows) * math.exp(self._rng.gauss(0.0, self.machine.noise))

        def decoded() -> None:
            nonlocal run_began_ms
            run_began_ms = self.now_ms

        def ran() -> None:
            computed_ms = self.now_ms - run_began_ms
            self._loop.append((self.machine.answer * rows, lambda: ended(computed_ms)))

        def ended(computed_ms: float) -> None:
            self._times.record(subnet, rows, computed_ms)
            self._times.record_handling(rows, self.now_ms - began_ms - computed_ms)
            self._dispatcher.ended(worker)
            self._idle.append(worker)
            for job in jobs:
                self._answer(job, subnet)
            self._hand_out()

        prepare_ms = self.machine.batch + self.machine.decode * rows
        self._workers[worker].extend([(prepare_ms, decoded), (run_ms, ran)])

    def _answer(self, job: Request, subnet: str) -> None:
        self._dispatcher.forget(job)

        def received() -> None:
            if self.now_ms <= job.due_ms + self.deadline_ms:
                self.delivered.append((job.due_ms, job.ladder.subnets[subnet].accuracy))

        self._client.append((self.machine.receive, received))
