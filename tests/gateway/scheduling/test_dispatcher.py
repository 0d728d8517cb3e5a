"""Who is taken in and what runs next, at times that the test says."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest

from gateway.errors import DeadlineExceeded, QueueFull
from gateway.scheduling.dispatcher import MARGIN, Dispatcher, Limits
from gateway.scheduling.ladder import Ladder
from gateway.select import Candidate

SMALL, LARGE = Candidate("small", 16, 0.8, 1.0), Candidate("large", 16, 0.9, 2.0)
BOTH = Ladder((LARGE, SMALL), {"large": LARGE, "small": SMALL})
IMAGE_MS = {"small": 10.0, "large": 40.0}
NUMBERS = itertools.count()


@dataclass(eq=False)
class Request:
    until_ms: float
    arrived_ms: float = 0.0
    device_class: str = "a"
    ladder: Ladder = BOTH
    rows: int = 1
    least_ms: float = 10.0
    number: int = field(default_factory=lambda: next(NUMBERS))

    @property
    def last_ms(self) -> float:
        return self.until_ms


def dispatcher(max_pending: int = 100, workers: int = 1) -> Dispatcher[Request]:
    return Dispatcher(lambda subnet, rows: IMAGE_MS[subnet] * rows, Limits(max_pending, 8, workers))


def test_who_comes_alone_runs_at_once_and_is_pending_until_answered() -> None:
    ours, request = dispatcher(), Request(100.0)
    assert ours.admit(request, 0.0).refused is None
    assert ours.next("w", 0.0) == ("large", [request])
    assert ours.pending == 1
    ours.ended("w")
    ours.forget(request)
    assert ours.pending == 0


def test_nobody_waits() -> None:
    assert dispatcher().next("w", 0.0) is None


def test_who_would_be_late_behind_the_others_is_refused_at_once() -> None:
    ours = dispatcher()
    taken = 0
    while (admission := ours.admit(Request(100.0), 0.0)).refused is None:
        taken += 1
    assert taken == int(100.0 / (10.0 * MARGIN)), "as many as are in time, with the margin"
    assert isinstance(admission.refused, DeadlineExceeded)
    assert ours.pending == taken


def test_who_cannot_be_saved_keeps_nobody_out() -> None:
    ours = dispatcher()
    for _ in range(7):
        assert ours.admit(Request(100.0), 0.0).refused is None
    assert ours.admit(Request(105.0), 92.0).refused is None, "the seven are late by themselves"
    assert len(ours.give_up_late(92.0)) == 7
    assert [job.until_ms for job in ours] == [105.0]


def test_a_busy_worker_counts() -> None:
    ours = dispatcher()
    ours.admit(Request(1000.0), 0.0)
    ours.next("w", 0.0)  # the large one, until 40
    assert isinstance(ours.admit(Request(45.0), 0.0).refused, DeadlineExceeded)
    assert ours.admit(Request(60.0), 0.0).refused is None


def test_a_class_that_has_more_gives_way() -> None:
    ours = dispatcher(max_pending=3)
    crowd = [Request(1000.0 + n) for n in range(3)]
    for request in crowd:
        ours.admit(request, 0.0)
    admission = ours.admit(Request(2000.0, device_class="b"), 0.0)
    assert (admission.refused, admission.given_way) == (None, (crowd[-1],))
    assert ours.pending == 3
    another = ours.admit(Request(2000.0), 0.0)
    assert isinstance(another.refused, QueueFull)
    assert ours.retry_after_s == pytest.approx(0.05)


def test_a_burst_is_answered_by_the_small_one_from_its_first_on() -> None:
    ours = dispatcher()
    for n in range(5):
        ours.admit(Request(100.0 + n), float(n))
    batch = ours.next("w", 5.0)
    assert batch is not None
    assert batch[0] == "small"
