"""Which requests run next, together, and through which subnet."""

from dataclasses import dataclass, replace
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from gateway.scheduling.batching import Load, next_batch
from gateway.scheduling.ladder import Ladder
from gateway.select import Candidate

FIXED_MS, ALONE = 1.0, Load(workers=1, max_rows=8, margin=1.0)
SIZES = (1.0, 2.0, 4.0)  # ms an image
SUBNETS = [Candidate(f"s{i}", 16, 0.8 + 0.05 * i, ms) for i, ms in enumerate(SIZES)]


def cost_ms(subnet: str, rows: int) -> float:
    return FIXED_MS + SIZES[int(subnet[1:])] * rows


@dataclass(frozen=True)
class Request:
    rows: int
    until_ms: float
    ladder: Ladder
    arrived_ms: float = 0.0

    @property
    def least_ms(self) -> float:
        return cost_ms(self.ladder.cheapest.subnet, self.rows)


def waiting(until_ms: float, smallest: int = 0, largest: int = 2, rows: int = 1) -> Request:
    """May get any of the subnets from `smallest` to `largest`."""
    rungs = tuple(reversed(SUBNETS[smallest : largest + 1]))
    return Request(rows, until_ms, Ladder(rungs, {rung.subnet: rung for rung in rungs}))


def test_with_time_to_spare_the_first_gets_its_best() -> None:
    assert next_batch([waiting(1000.0)], 0.0, cost_ms, ALONE).subnet == "s2"


def test_takes_the_largest_that_is_in_time() -> None:
    assert next_batch([waiting(4.0)], 0.0, cost_ms, ALONE).subnet == "s1"


def test_takes_the_smallest_where_nothing_is_in_time() -> None:
    assert next_batch([waiting(0.5)], 0.0, cost_ms, ALONE).subnet == "s0"


def test_a_margin_and_work_to_come_count() -> None:
    queue = [waiting(5.5)]
    assert next_batch(queue, 0.0, cost_ms, ALONE).subnet == "s2"
    assert next_batch(queue, 0.0, cost_ms, Load(1, 8, margin=1.3)).subnet == "s1"
    assert next_batch(queue, 0.0, cost_ms, Load(1, 8, 1.0, 0.1, 10.0)).subnet == "s1"


def test_a_dearer_subnet_than_the_cheapest_is_chosen_with_care() -> None:
    assert next_batch([waiting(5.5)], 0.0, cost_ms, Load(1, 8, 1.0, care=1.2)).subnet == "s1"
    load = Load(1, 8, 1.0, care=3.0)
    crowd = [waiting(9.0) for _ in range(8)]
    assert next_batch(crowd, 0.0, cost_ms, load).places == tuple(range(8)), "which s0 just makes"


def test_what_cannot_keep_up_with_a_burst_runs_only_where_there_is_time_for_it() -> None:
    # Of eight images s1 costs 17/9 times s0, and s2 33/9: of the time 0.5, 0.94 and 1.8.
    load = Load(1, 8, 1.0, busy=0.5)
    assert next_batch([waiting(30.0)], 0.0, cost_ms, load).subnet == "s0"
    assert next_batch([waiting(100.0)], 0.0, cost_ms, load).subnet == "s1"
    assert next_batch([waiting(300.0)], 0.0, cost_ms, load).subnet == "s2"


def test_no_batch_is_longer_than_through_the_cheapest_by_more_than_it_may() -> None:
    # One image takes s1 a millisecond longer than s0, and s2 three: of 100 ms seven are allowed.
    load = Load(1, 8, 1.0, extra=0.07)
    assert next_batch([waiting(10.0)], 0.0, cost_ms, load).subnet == "s0"
    assert next_batch([waiting(20.0)], 0.0, cost_ms, load).subnet == "s1"
    assert next_batch([waiting(100.0)], 0.0, cost_ms, load).subnet == "s2"
    assert next_batch([waiting(100.0)] * 3, 0.0, cost_ms, load).subnet == "s1", "nine, and three"
    assert next_batch([waiting(1000.0)], 0.0, cost_ms, replace(load, extra=0.0)).subnet == "s0"


def test_those_who_want_the_same_run_together() -> None:
    batch = next_batch([waiting(1000.0)] * 3, 0.0, cost_ms, ALONE)
    assert (batch.subnet, batch.places) == ("s2", (0, 1, 2))


def test_one_that_may_have_better_is_not_pulled_down_while_there_is_time() -> None:
    batch = next_batch([waiting(900.0, largest=0), waiting(1000.0)], 0.0, cost_ms, ALONE)
    assert (batch.subnet, batch.places) == ("s0", (0,))


def test_a_subnet_that_satisfies_all_is_shared() -> None:
    queue = [waiting(900.0), waiting(1000.0, smallest=2)]
    assert next_batch(queue, 0.0, cost_ms, ALONE).places == (0, 1)


def test_a_minimum_accuracy_is_not_broken_for_company() -> None:
    queue = [waiting(3.0, largest=0), waiting(3.5, smallest=2)]
    assert next_batch(queue, 0.0, cost_ms, ALONE).places == (0,)


def test_the_first_steps_down_for_those_behind_it() -> None:
    queue = [waiting(20.0), *[waiting(14.0 + i, largest=0) for i in range(6)]]
    queue.sort(key=lambda w: w.until_ms)
    assert next_batch(queue, 0.0, cost_ms, ALONE).subnet == "s0"


def test_in_a_crowd_those_who_have_waited_too_long_are_left_out() -> None:
    old = [Request(1, 3.0, waiting(0).ladder, arrived_ms=-60.0) for _ in range(3)]
    young = [Request(1, 40.0, waiting(0).ladder, arrived_ms=-10.0) for _ in range(30)]
    batch = next_batch([*old, *young], 0.0, cost_ms, ALONE)
    assert (batch.subnet, batch.places) == ("s0", tuple(range(3, 11)))


def test_in_a_crowd_who_is_in_a_hurry_is_not_left_out() -> None:
    young = [Request(1, 40.0, waiting(0).ladder, arrived_ms=-10.0) for _ in range(60)]
    batch = next_batch([waiting(3.0), *young], 0.0, cost_ms, ALONE)
    assert batch.places[0] == 0


@st.composite
def queues(draw: st.DrawFn) -> list[Request]:
    """Some requests, by deadline."""
    made = []
    for _ in range(draw(st.integers(1, 12))):
        smallest = draw(st.integers(0, 2))
        largest = draw(st.integers(smallest, 2))
        request = waiting(draw(st.floats(0, 60)), smallest, largest, draw(st.integers(1, 4)))
        made.append(replace(request, arrived_ms=draw(st.floats(-60, 0))))
    return sorted(made, key=lambda w: w.until_ms)


@given(queues(), st.integers(1, 3), st.floats(1, 2), st.floats(0, 3), st.floats(0, 100))
def test_whoever_is_in_a_batch_is_satisfied_by_it(
    queue: list[Request], workers: int, margin: float, busy: float, window_ms: float
) -> None:
    load = Load(workers, 8, margin, busy, window_ms)
    batch = next_batch(queue, 0.0, cost_ms, load)
    left_out = queue[: batch.places[0]]
    for left in left_out:
        too_late = margin * cost_ms(left.ladder.cheapest.subnet, left.rows) > left.until_ms
        assert too_late or left.until_ms <= (left.until_ms - left.arrived_ms) / 2
    assert list(batch.places) == sorted(set(batch.places))
    assert all(batch.subnet in queue[place].ladder.subnets for place in batch.places)
    rows = sum(queue[place].rows for place in batch.places)
    assert rows <= 8 or len(batch.places) == 1


@given(queues())
def test_nobody_makes_the_first_miss_its_deadline(queue: list[Request]) -> None:
    batch = next_batch(queue, 0.0, cost_ms, ALONE)
    rows = sum(queue[place].rows for place in batch.places)
    first = queue[batch.places[0]]
    alone = cost_ms(batch.subnet, first.rows) <= first.until_ms
    assert not alone or cost_ms(batch.subnet, rows) <= first.until_ms


@given(queues())
def test_who_can_all_be_saved_are_served_in_order(queue: list[Request]) -> None:
    """Each alone through its cheapest, one after the other: then nobody is left out."""
    ends = accumulate(cost_ms(w.ladder.cheapest.subnet, w.rows) for w in queue)
    if all(end <= w.until_ms for end, w in zip(ends, queue, strict=True)):
        assert next_batch(queue, 0.0, cost_ms, ALONE).places[0] == 0
