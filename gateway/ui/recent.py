"""The last answers, in bounded memory: what the live page shows as it comes, and in sums.

Holds no logits, no image and no caller's name or address.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from gateway.calls import Call
from gateway.services.tally import METHODS

MOST_ROWS = 1000  # that sums are made of
MOST_FRESH = 40  # that are told one by one, each time
MOST_SUBNETS = 12  # that sums tell of one class
WINDOW_S = 60.0
_LONGEST_NAME = 63
_QUANTILES = (0.1, 0.5, 0.9)

Document = dict[str, object]


class Row(NamedTuple):
    """A request that ran or was to run a subnet. `number` counts them, `at` is in Unix seconds.
    Without an answer, `subnet` is empty and `code` says why."""

    number: int
    at: float
    device_class: str
    code: str
    subnet: str = ""
    accuracy: float = 0.0
    predicted_ms: float = 0.0
    compute_ms: float = 0.0
    queue_ms: float = 0.0
    batch: int = 0
    degraded: bool = False


class Recent:
    """Fed with each call as it ends, on the event loop. `device_class_of` says which class a
    name that a caller gave is served as; None where it is not."""

    def __init__(
        self,
        device_class_of: Callable[[str], str | None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._device_class_of, self._clock = device_class_of, clock
        self._kept: deque[Row] = deque(maxlen=MOST_ROWS)
        self.count = 0

    def observe(self, call: Call) -> None:
        """A `CallObserver`: some microseconds."""
        if call.method not in METHODS:
            return
        self.count += 1
        name = call.device_class
        name = self._device_class_of(name) or name[:_LONGEST_NAME]
        if call.answer is None:
            self._kept.append(Row(self.count, self._clock(), name, call.code))
            return
        answer, chosen = call.answer, call.answer.selection
        self._kept.append(
            Row(
                self.count,
                self._clock(),
                name,
                call.code,
                chosen.subnet,
                chosen.accuracy,
                chosen.latency_ms,
                answer.compute_ms,
                answer.queue_ms,
                answer.batch,
                chosen.degraded,
            )
        )

    def after(self, number: int) -> tuple[list[Row], int]:
        """The rows after that number, oldest first, and how many are left out because there are
        more than anybody can read."""
        fresh = self.count - number
        shown = min(fresh, MOST_FRESH, len(self._kept))
        kept = self._kept
        return [kept[i] for i in range(len(kept) - shown, len(kept))], fresh - shown

    def sums(self) -> dict[str, Document]:
        """What each device class was answered with in the last minute, of the last thousand
        requests at most."""
        since = self._clock() - WINDOW_S
        rows = sorted(
            (row for row in self._kept if row.at >= since), key=attrgetter("device_class")
        )
        return {
            name: _sums(list(of_class))
            for name, of_class in groupby(rows, lambda r: r.device_class)
        }


def _sums(rows: Sequence[Row]) -> Document:
    """Of one class: how many were answered, turned away or degraded, and by which subnets."""
    answered = sorted((row for row in rows if row.subnet), key=attrgetter("subnet"))
    by_subnet = [list(each) for _, each in groupby(answered, lambda r: r.subnet)]
    by_subnet.sort(key=len, reverse=True)
    return {
        "answers": len(answered),
        "failed": len(rows) - len(answered),
        "degraded": sum(row.degraded for row in answered),
        "accuracy": sum(row.accuracy for row in answered) / len(answered) if answered else None,
        "subnets": [_of_subnet(each) for each in by_subnet[:MOST_SUBNETS]],
        "other_subnets": len(by_subnet[MOST_SUBNETS:]),
    }


def _of_subnet(rows: Sequence[Row]) -> Document:
    """`compute_ms` is of images that ran alone, for a batch's time is not that of one: what a
    tenth, half and nine tenths of them were within."""
    first = rows[0]
    return {
        "subnet": first.subnet,
        "answers": len(rows),
        "accuracy": first.accuracy,
        "predicted_ms": first.predicted_ms,
        "compute_ms": _quantiles(row.compute_ms for row in rows if row.batch == 1),
    }


def _quantiles(values: Iterable[float]) -> list[float] | None:
    ordered = sorted(values)
    return [ordered[int(q * (len(ordered) - 1) + 0.5)] for q in _QUANTILES] if ordered else None
