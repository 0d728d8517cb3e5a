"""One gateway, simulated: the scheduler's own decisions, with runs that take what is expected."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count

from gateway.capacity.traffic import SEED, Times
from gateway.scheduling.batching import CostMs
from gateway.scheduling.dispatcher import Dispatcher, Limits
from gateway.scheduling.ladder import Ladder


@dataclass(frozen=True, slots=True)
class Client:
    """Those of one device class: how large a part of the traffic they are, of whatever sum."""

    device_class: str
    ladder: Ladder
    share: float = 1.0


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
    """A gateway with a deadline to hold: who asks it, what runs take on one of its workers, all
    that a request costs included, and its limits."""

    clients: Sequence[Client]
    run_ms: CostMs
    limits: Limits
    deadline_ms: float

    def simulate(self, arrivals: Times) -> Outcome:
        """What becomes of requests that come at these times, one image each."""
        return _Simulation(self).run(self._requests(arrivals))

    def _requests(self, arrivals: Times) -> Iterable[_Request]:
        rng = random.Random(SEED)
        shares = [client.share for client in self.clients]
        rows = self.limits.max_rows
        least = {
            client.device_class: self.run_ms(client.ladder.cheapest.subnet, rows) / rows
            for client in self.clients
        }
        for number, arrived in enumerate(arrivals.tolist()):
            (client,) = rng.choices(self.clients, shares)
            until, name = arrived + self.deadline_ms, client.device_class
            yield _Request(number, name, client.ladder, arrived, until, least[name])


class _Simulation:
    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._dispatcher: Dispatcher[_Request] = Dispatcher(replica.run_ms, replica.limits)
        self._free = list(range(replica.limits.workers))
        self._running: list[tuple[float, int, int, str, list[_Request]]] = []  # by their end
        self._runs = count()  # tells apart those that end at once
        self._in_time, self._accuracies, self._busy_ms, self._ended_ms = 0, 0.0, 0.0, 0.0

    def run(self, requests: Iterable[_Request]) -> Outcome:
        came, now_ms = 0, 0.0
        for request in requests:
            came, now_ms = came + 1, request.arrived_ms
            self._end_until(now_ms)
            self._dispatcher.admit(request, now_ms)
            self._start(now_ms)
        self._end_until(float("inf"))
        worker_ms = max(now_ms, self._ended_ms) * self._replica.limits.workers
        return Outcome(came, self._in_time, self._accuracies, self._busy_ms, worker_ms)

    def _end_until(self, until_ms: float) -> None:
        while self._running and self._running[0][0] <= until_ms:
            now_ms, _, worker, subnet, jobs = heapq.heappop(self._running)
            self._ended_ms = now_ms
            self._dispatcher.ended(worker)
            for job in jobs:
                self._dispatcher.forget(job)
                if now_ms <= job.until_ms:
                    self._in_time += 1
                    self._accuracies += job.ladder.subnets[subnet].accuracy
            self._free.append(worker)
            self._start(now_ms)

    def _start(self, now_ms: float) -> None:
        while self._free:
            self._dispatcher.give_up_late(now_ms)
            batch = self._dispatcher.next(self._free[-1], now_ms)
            if batch is None:
                return
            subnet, jobs = batch
            taken_ms = self._replica.run_ms(subnet, len(jobs))
            self._busy_ms += taken_ms
            end = (now_ms + taken_ms, next(self._runs), self._free.pop(), subnet, jobs)
            heapq.heappush(self._running, end)
