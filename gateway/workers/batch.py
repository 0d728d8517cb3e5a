"""A batch as a worker is handed it, and what came of it. Knows neither requests nor threads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from gateway.errors import GatewayError
from gateway.request import Logits, ModelInput


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs for one subnet. `last_ms` says of each when its answer is worth nothing any more, in
    ms of the monotonic clock. They may be prepared `side_by_side` where cores are idle."""

    subnet: str
    inputs: tuple[ModelInput, ...]
    last_ms: tuple[float, ...]
    side_by_side: bool = False

    def alone(self, place: int) -> Batch:
        """One of them by itself."""
        return Batch(self.subnet, (self.inputs[place],), (self.last_ms[place],))


@dataclass(frozen=True, slots=True)
class Run:
    """What ran together: the inputs' places in the batch and how many rows each has; logits, best
    class, and whether all logits are finite, of each row in order. It began at `began_ns` of the
    system's time."""

    places: tuple[int, ...]
    rows: tuple[int, ...]
    logits: Logits
    classes: tuple[int, ...]
    finite: tuple[bool, ...]
    compute_ms: float
    began_ns: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Each input is in one of the runs, has an error by its place, or is postponed: it takes long
    to prepare, and the others were not to wait for it. Where they `failed_together` they ran one
    by one."""

    runs: tuple[Run, ...]
    errors: Mapping[int, GatewayError]
    postponed: tuple[int, ...] = ()
    failed_together: bool = False


class Worker(Protocol):
    """Runs one batch after another."""

    async def run(self, batch: Batch, /) -> Outcome:
        """Raises where the worker itself is lost."""
        ...
