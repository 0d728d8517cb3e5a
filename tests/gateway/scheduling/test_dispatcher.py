"""Who is taken in and what runs next, at times that the test says."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import pytest

from gateway.errors import DeadlineExceeded, QueueFull
from gateway.scheduling.dispatcher import BURSTS_MS, LOSING_MS, Dispatcher, Limits
from gateway.scheduling.ladder import Ladder
from gateway.select import Candidate

SMALL, LARGE = Candidate("small", 16, 0.8, 1.0), Candidate("large", 16, 0.9, 2.0)
BOTH = Ladder((LARGE, SMALL), {"large": LARGE, "small": SMALL})
ONLY_SMALL = Ladder((SMALL,), {"small": SMALL})
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
    last: float | None = None

    @property
    def last_ms(self) -> float:
        return self.until_ms if self.last is None else self.last


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
    assert taken == 10, "as many as are in time where runs take what is expected"
    assert isinstance(admission.refused, DeadlineExceeded)
    assert ours.pending == taken


def test_after_a_burst_the_next_finds_no_long_batch_before_it_for_a_while() -> None:
    ours, alone_at_ms = dispatcher(), (1_000.0, BURSTS_MS, BURSTS_MS + 1_000.0)
    for _ in range(4):  # 30 of 50 ms: the last is no rate yet
        ours.admit(Request(400.0), 0.0)
    while ours.next("w", 0.0) is not None:
        ours.ended("w")
    subnets = []
    for at_ms in alone_at_ms:
        ours.admit(Request(at_ms + 190.0, at_ms), at_ms)
        batch = ours.next("w", at_ms)
        assert batch is not None
        subnets.append(batch[0])
        ours.ended("w")
    assert subnets == ["small", "large", "large"], "30 ms more than the small one, of 190"


@pytest.mark.parametrize(("crowd", "expected"), [(9, "small"), (0, "large")])
def test_for_a_second_after_a_crowd_lost_one_all_get_the_cheapest(
    crowd: int, expected: str
) -> None:
    ours = dispatcher()
    for _ in range(crowd):
        ours.admit(Request(100.0), 0.0)
    ours.admit(Request(100.0, rows=8, least_ms=80.0), 0.0)
    ours.admit(Request(100.0, rows=8, least_ms=80.0), 0.0)  # lost to the first, or to the crowd
    while ours.next("w", 0.0) is not None:
        ours.ended("w")
    subnets = []
    for at_ms in (LOSING_MS - 1.0, LOSING_MS + 1.0):
        ours.admit(Request(at_ms + 5000.0, at_ms), at_ms)
        batch = ours.next("w", at_ms)
        assert batch is not None
        subnets.append(batch[0])
        ours.ended("w")
    assert subnets == [expected, "large"]


def test_one_caller_after_another_is_no_burst() -> None:
    """Half of the time is taken, but nobody waits. After a burst 55.5 of 370 ms would be too few
    for what the large one takes longer."""
    cost_ms = {"small": 60.0, "large": 120.0}
    ours = Dispatcher[Request](lambda subnet, rows: cost_ms[subnet] * rows, Limits(100, 8, 1))
    subnets = []
    for n in range(20):
        at_ms, request = 61.0 * n, Request(61.0 * n + 370.0, 61.0 * n, least_ms=60.0)
        ours.admit(request, at_ms)
        batch = ours.next("w", at_ms)
        assert batch is not None
        subnets.append(batch[0])
        ours.ended("w")
        ours.forget(request)
    assert set(subnets) == {"large"}


@pytest.mark.parametrize(("takes", "expected"), [(1.0, "large"), (2.0, "small")])
def test_where_runs_take_longer_than_expected_a_dear_subnet_is_a_risk(
    takes: float, expected: str
) -> None:
    """40 of 80 ms are expected of the large one."""
    ours, at_ms, subnet = dispatcher(), 0.0, ""
    for _ in range(100):
        at_ms += 1000.0
        request = Request(at_ms + 80.0, at_ms)
        ours.admit(request, at_ms)
        batch = ours.next("w", at_ms)
        assert batch is not None
        subnet = batch[0]
        ours.ended("w", at_ms + takes * IMAGE_MS[subnet])
        ours.forget(request)
    assert subnet == expected


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


def test_who_would_be_late_all_the_same_drives_nobody_out() -> None:
    ours = dispatcher(max_pending=300)
    crowd = [Request(1000.0) for _ in range(70)]
    for request in crowd:
        ours.admit(request, 0.0)
    ours.next("w", 0.0)
    waiting = list(ours)
    hopeless = ours.admit(Request(50.0, device_class="b"), 0.0)
    assert isinstance(hopeless.refused, DeadlineExceeded)
    assert (hopeless.given_way, list(ours)) == ((), waiting)


def test_a_class_that_has_more_gives_as_much_time_as_is_asked_for_and_no_more() -> None:
    ours = dispatcher()
    ours.admit(Request(1000.0, ladder=ONLY_SMALL), 0.0)
    ours.next("w", 0.0)  # until 10
    crowd = [Request(100.0) for _ in range(9)]  # no tenth would be in time
    for request in crowd:
        ours.admit(request, 0.0)
    admission = ours.admit(Request(100.0, device_class="b"), 0.0)
    assert (admission.refused, admission.given_way) == (None, (crowd[-1],))
    waiting = list(ours)
    long = ours.admit(Request(100.0, device_class="c", rows=8, least_ms=95.0), 0.0)
    assert isinstance(long.refused, DeadlineExceeded)
    assert list(ours) == waiting, "who has to stay is not lost"


def test_patience_has_an_end_under_any_load() -> None:
    """One without a deadline, and twice as many with one as can be served."""
    ours = dispatcher()
    patient = Request(1000.0, last=math.inf)
    ours.admit(patient, 0.0)
    now_ms, ran_at = 0.0, None
    while ran_at is None and now_ms < 5000.0:
        for _ in range(16):
            ours.admit(Request(now_ms + 150.0), now_ms)
        ours.give_up_late(now_ms)
        batch = ours.next("w", now_ms)
        assert batch is not None
        ran_at = now_ms if patient in batch[1] else None
        now_ms += IMAGE_MS[batch[0]] * len(batch[1])
        ours.ended("w")
        for job in batch[1]:
            ours.forget(job)
    assert ran_at is not None
    assert ran_at < 1000.0 + 3 * 80.0


def test_those_whose_patience_is_over_leave_every_second_batch_to_others() -> None:
    ours = dispatcher()
    for _ in range(100):
        ours.admit(Request(0.5, last=math.inf, ladder=ONLY_SMALL), 0.0)
    for _ in range(3):
        ours.admit(Request(2000.0, device_class="b"), 0.0)
    kinds = []
    for _ in range(4):
        batch = ours.next("w", 1.0)
        assert batch is not None
        kinds.append(batch[1][0].device_class)
        ours.ended("w")
    assert kinds == ["a", "b", "a", "a"], "where nobody else waits they get all of them"


def test_a_burst_is_answered_by_the_small_one_from_its_first_on() -> None:
    ours = dispatcher()
    for n in range(5):
        ours.admit(Request(100.0 + n), float(n))
    batch = ours.next("w", 5.0)
    assert batch is not None
    assert batch[0] == "small"
