"""How many requests there were and what they took: what Triton's clients ask a server for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.calls import Call

METHODS = frozenset(
    {"Infer", "InferStream", "ModelInfer", "ModelStreamInfer"}
    | {"Predictions", "StreamPredictions", "StreamPredictions2"}
)
"""Those that run a subnet."""
_NS = 1_000_000_000


@dataclass(slots=True)
class Total:
    """How often, and the sum of the times in nanoseconds."""

    count: int = 0
    ns: int = 0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.ns += round(max(0.0, seconds) * _NS)


@dataclass(slots=True)
class Tally:
    """Of the requests that ran or were to run a subnet, by any protocol, since the start.

    `runs` is of the engine: a request that shared one counts for its share of the images.
    """

    clock: Callable[[], float] = time.time
    success: Total = field(default_factory=Total)
    fail: Total = field(default_factory=Total)
    queue: Total = field(default_factory=Total)
    around: Total = field(default_factory=Total)
    compute: Total = field(default_factory=Total)
    images: int = 0
    runs: float = 0.0
    last_at: float = 0.0

    def observe(self, call: Call) -> None:
        """A `CallObserver`."""
        if call.method not in METHODS:
            return
        if call.answer is None:
            self.fail.add(call.seconds)
            return
        answer = call.answer
        queue_s, compute_s = answer.queue_ms / 1000, answer.compute_ms / 1000
        self.success.add(call.seconds)
        self.queue.add(queue_s)
        self.compute.add(compute_s)
        self.around.add(call.seconds - queue_s - compute_s)
        self.images += len(answer.logits)
        self.runs += len(answer.logits) / answer.batch
        self.last_at = self.clock()
