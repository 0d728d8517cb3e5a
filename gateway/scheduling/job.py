"""A request on its way through the gateway."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field

from gateway.calls import Call
from gateway.errors import GatewayError
from gateway.request import Answer, ModelInput
from gateway.scheduling.dispatcher import PATIENCE_MS
from gateway.scheduling.ladder import Ladder


def _future() -> asyncio.Future[Answer]:
    return asyncio.get_running_loop().create_future()


@dataclass(slots=True, eq=False)
class Job:
    """A request whose form is right. Times are the clock's, in ms; `number` is the order of
    arrival, `least_ms` what it costs a worker at least. `call` is what it belongs to, where it is
    served. Made, and answered, within an event loop."""

    model_input: ModelInput
    rows: int
    device_class: str
    ladder: Ladder
    arrived_ms: float
    deadline_ms: float | None
    number: int
    least_ms: float
    future: asyncio.Future[Answer] = field(default_factory=_future)
    call: Call | None = None

    @property
    def until_ms(self) -> float:
        return self.arrived_ms + PATIENCE_MS if self.deadline_ms is None else self.deadline_ms

    @property
    def last_ms(self) -> float:
        """When the answer is worth nothing any more."""
        return math.inf if self.deadline_ms is None else self.deadline_ms

    def succeed(self, answer: Answer) -> None:
        """Unless the caller has given it up."""
        if not self.future.done():
            self.future.set_result(answer)

    def fail(self, error: GatewayError) -> None:
        """Unless it is answered, or the caller has given it up."""
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # seen, also where the caller gives it up in this moment
