"""One gateway, simulated: the scheduler's own decisions, on cores that its threads share.

The event loop and each worker do one thing after another. While more of them are at work than there
are cores, each gets its part: so a burst that the loop takes in slows the runs. What is expected of
runs is corrected by those that have ended, as in a gateway.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.capacity.cores import Cores
from gateway.capacity.traffic import SEED, Times
from gateway.engine_times import EngineTimes
from gateway.engines.costs import Line
from gateway.scheduling.dispatcher import Dispatcher, Limits
from gateway.scheduling.ladder import Ladder

ADMITTING = 0.8
"""Of what a request takes of the event loop, before it waits; the rest when it is answered."""

RUNS_NOISE = 0.2  # of runs beside an event loop and another worker: docs/scaling.md


@dataclass(frozen=True, slots=True)
class Client:
    """Those of one device class: how large a part of the traffic they are, of whatever sum."""

    device_class: str
    ladder: Ladder
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Handling:
    """What a request takes besides its run, in ms of a core: of its worker, of the event loop, and
    of a client that shares the cores."""

    worker_ms: float = 0.0
    loop_ms: float = 0.0
    client_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Requests that came, those answered in time, the sum of their answers' accuracies, and the
    milliseconds that workers ran, of those there were."""

    requests: int = 0
    in_time: int = 0
    accuracies: float = 0.0
    busy_ms: float = 0.0
    worker_ms: float = 0.0

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.requests + other.requests,
            self.in_time + other.in_time,
            self.accuracies + other.accuracies,
            self.busy_ms + other.busy_ms,
            self.worker_ms + other.worker_ms,
        )

    @property
    def attainment(self) -> float:
        """From 0 to 1; 1 where nothing came."""
        return self.in_time / self.requests if self.requests else 1.0

    @property
    def accuracy(self) -> float:
        """The mean of what was answered in time."""
        return self.accuracies / self.in_time if self.in_time else 0.0

    @property
    def busy(self) -> float:
        """How large a part of the time workers ran."""
        return self.busy_ms / self.worker_ms if self.worker_ms else 0.0


@dataclass(slots=True, eq=False)
class _Request:
    """What `Dispatcher` knows of a job."""

    number: int
    device_class: str
    ladder: Ladder
    arrived_ms: float
    until_ms: float
    least_ms: float
    rows: int = 1

    @property
    def last_ms(self) -> float:
        return self.until_ms


@dataclass(frozen=True, slots=True)
class Replica:
    """A gateway with a deadline to hold.

    `line` says what runs of a subnet take with as many cores as they want, which is `run_cores` of
    the `cores`; each is off by `noise`, the standard deviation of its logarithm.
    """

    clients: Sequence[Client]
    line: Callable[[str], Line]
    limits: Limits
    deadline_ms: float
    handling: Handling = Handling()
    cores: int = 1
    run_cores: int = 1
    noise: float = 0.0

    def simulate(self, arrivals: Times, *, uncounted: int = 0) -> Outcome:
        """What becomes of requests that come at these times, one image each; of the first so many
        it is not counted."""
        return _Simulation(self, uncounted).run(arrivals)

    def least_ms(self, subnet: str, images: int) -> float:
        """What a worker takes for so many images where nobody else wants its cores."""
        return self.line(subnet).ms(images) + self.handling.worker_ms * images


class _Simulation:
    def __init__(self, replica: Replica, uncounted: int) -> None:
        self._replica, self._uncounted = replica, uncounted
        self._rng, self._noise = random.Random(SEED), random.Random(SEED)
        self._shares = [client.share for client in replica.clients]
        self._cores = Cores(replica.cores)
        self._client, self._loop = self._cores.thread(), self._cores.thread()
        workers = range(replica.limits.workers)
        self._workers = [self._cores.thread(replica.run_cores) for _ in workers]
        self._idle = list(workers)
        self._times = EngineTimes(replica.line, lambda: self._cores.now_ms / 1000)
        limits = replica.limits
        self._dispatcher: Dispatcher[_Request] = Dispatcher(self._times.expected_ms, limits)
        self._came, self._in_time, self._accuracies, self._busy_ms = 0, 0, 0.0, 0.0

    def run(self, arrivals: Times) -> Outcome:
        for arrival in arrivals.tolist():
            self._cores.run_until(arrival)
            self._ask(arrival)
        self._cores.run()
        counted, workers = max(0, self._came - self._uncounted), len(self._workers)
        worker_ms = self._cores.now_ms * workers
        return Outcome(counted, self._in_time, self._accuracies, self._busy_ms, worker_ms)

    def _ask(self, due_ms: float) -> None:
        number, self._came = self._came, self._came + 1
        (client,) = self._rng.choices(self._replica.clients, self._shares)
        handling = self._replica.handling

        def sent() -> None:
            self._loop.add(
                ADMITTING * handling.loop_ms, lambda: self._admit(number, client, due_ms)
            )

        self._client.add(handling.client_ms / 2, sent)

    def _admit(self, number: int, client: Client, due_ms: float) -> None:
        now_ms, until_ms = self._cores.now_ms, due_ms + self._replica.deadline_ms
        rows = self._replica.limits.max_rows
        least_ms = self._times.expected_ms(client.ladder.cheapest.subnet, rows) / rows
        name, ladder = client.device_class, client.ladder
        request = _Request(number, name, ladder, now_ms, until_ms, least_ms)
        if self._dispatcher.admit(request, now_ms).refused is None:
            self._hand_out()

    def _hand_out(self) -> None:
        while self._idle:
            self._dispatcher.give_up_late(self._cores.now_ms)
            batch = self._dispatcher.next(self._idle[-1], self._cores.now_ms)
            if batch is None:
                return
            self._begin(self._idle.pop(), *batch)

    def _begin(self, worker: int, subnet: str, jobs: list[_Request]) -> None:
        rows, handling, began_ms = len(jobs), self._replica.handling, self._cores.now_ms
        run_began_ms = began_ms
        run_ms = self._replica.line(subnet).ms(rows)
        run_ms *= self._noise.lognormvariate(0.0, self._replica.noise)

        def prepared() -> None:
            nonlocal run_began_ms
            run_began_ms = self._cores.now_ms

        def ran() -> None:
            answering_ms = (1 - ADMITTING) * handling.loop_ms * rows
            computed_ms = self._cores.now_ms - run_began_ms
            self._loop.add(answering_ms, lambda: ended(computed_ms))

        def ended(computed_ms: float) -> None:
            took_ms = self._cores.now_ms - began_ms
            self._busy_ms += took_ms
            self._times.record(subnet, rows, computed_ms)
            self._times.record_handling(rows, took_ms - computed_ms)
            self._dispatcher.ended(worker, self._cores.now_ms)
            self._idle.append(worker)
            for job in jobs:
                self._answer(job, subnet)
            self._hand_out()

        self._workers[worker].add(handling.worker_ms * rows, prepared)
        self._workers[worker].add(run_ms, ran)

    def _answer(self, job: _Request, subnet: str) -> None:
        self._dispatcher.forget(job)

        def received() -> None:
            if self._cores.now_ms <= job.until_ms and job.number >= self._uncounted:
                self._in_time += 1
                self._accuracies += job.ladder.subnets[subnet].accuracy

        self._client.add(self._replica.handling.client_ms / 2, received)
