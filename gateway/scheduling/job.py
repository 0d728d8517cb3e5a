"""A request on its way through the gateway, and what all of them come to as load."""

from __future__ import annotations

import math
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field

from gateway.calls import Call
from gateway.errors import GatewayError
from gateway.request import Answer, ModelInput
from gateway.scheduling.ladder import Ladder

PATIENCE_MS = 1000.0
"""A request without a deadline is queued as if it had one so far off: it can be overtaken, but not
for ever, and it steps down its ladder like any other. It is never given up."""


@dataclass(slots=True, eq=False)
class Job:
    """A request whose form is right. Times are the clock's, in ms; `number` is the order of
    arrival, `least_ms` what it costs a worker at least. `call` is what it belongs to, where it is
    served."""

    model_input: ModelInput
    rows: int
    device_class: str
    ladder: Ladder
    arrived_ms: float
    deadline_ms: float | None
    number: int
    least_ms: float
    future: Future[Answer] = field(default_factory=Future)
    call: Call | None = None

    @property
    def until_ms(self) -> float:
        return self.arrived_ms + PATIENCE_MS if self.deadline_ms is None else self.deadline_ms

    @property
    def last_ms(self) -> float:
        """When the answer is worth nothing any more."""
        return math.inf if self.deadline_ms is None else self.deadline_ms

    def succeed(self, answer: Answer) -> None:
        """Unless the caller has given it up in this moment."""
        with suppress(InvalidStateError):
            self.future.set_result(answer)

    def fail(self, error: GatewayError) -> None:
        """Unless it is answered, or the caller has given it up in this moment."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)


class Arrivals:
    """How much work has been coming in lately: ms of it for each ms of time."""

    def __init__(self, memory_ms: float = 500.0) -> None:
        self._memory_ms = memory_ms
        self._rate, self._at_ms = 0.0, -math.inf

    def add(self, work_ms: float, now_ms: float) -> None:
        self._rate = self.rate(now_ms) + work_ms / self._memory_ms
        self._at_ms = now_ms

    def rate(self, now_ms: float) -> float:
        return self._rate * math.exp(-max(0.0, now_ms - self._at_ms) / self._memory_ms)
