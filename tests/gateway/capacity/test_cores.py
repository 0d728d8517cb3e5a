"""Threads on fewer cores than they want."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.capacity.cores import Cores


def ends(cores: Cores, tasks: list[tuple[int, float]]) -> list[float]:
    """When each of them ends: the cores that its thread wants, and its milliseconds."""
    found = [0.0] * len(tasks)

    def ended(place: int) -> None:
        found[place] = cores.now_ms

    for place, (wants, ms) in enumerate(tasks):
        cores.thread(wants).add(ms, lambda place=place: ended(place))  # type: ignore[misc]
    cores.run()
    return found


def test_each_has_a_core_while_there_are_enough() -> None:
    assert ends(Cores(2), [(1, 10.0), (1, 4.0)]) == [10.0, 4.0]


def test_three_on_two_cores_get_two_thirds_each_until_one_is_done() -> None:
    assert ends(Cores(2), [(1, 4.0), (1, 4.0), (1, 10.0)]) == pytest.approx([6.0, 6.0, 12.0])


def test_after_hours_a_task_still_ends() -> None:
    hours_ms = 2.0**26 + 1 / 3
    cores = Cores(2, now_ms=hours_ms)
    found = ends(cores, [(1, 4.1), (1, 4.1), (1, 10.3)])
    assert [ms - hours_ms for ms in found] == pytest.approx([6.15, 6.15, 12.35], abs=1e-6)


def test_what_wants_two_cores_takes_two_parts() -> None:
    assert ends(Cores(2), [(2, 4.0), (1, 4.0)]) == pytest.approx([6.0, 6.0])


def test_a_thread_does_one_thing_after_another_and_what_follows_at_once() -> None:
    cores, said = Cores(1), list[tuple[str, float]]()
    thread, other = cores.thread(), cores.thread()

    def first() -> None:
        said.append(("first", cores.now_ms))
        other.add(1.0, lambda: said.append(("what follows", cores.now_ms)))

    thread.add(2.0, first)
    thread.add(3.0, lambda: said.append(("second", cores.now_ms)))
    cores.run_until(1.0)
    assert (said, cores.now_ms) == ([], 1.0)
    cores.run_until(10.0)
    assert said == [("first", 2.0), ("what follows", 4.0), ("second", 6.0)]
    assert cores.now_ms == 10.0, "also where nothing is left to do"


@given(st.integers(1, 4), st.lists(st.tuples(st.integers(1, 3), st.floats(0.0, 50.0)), max_size=8))
def test_cores_are_never_idle_while_there_is_work_and_do_no_more_than_they_can(
    count: int, tasks: list[tuple[int, float]]
) -> None:
    last = max(ends(Cores(count), tasks), default=0.0)
    work = sum(wants * ms for wants, ms in tasks)
    longest = max((ms for _, ms in tasks), default=0.0)
    assert last >= max(work / count, longest) - 1e-6
    assert last <= work / count + longest + 1e-6
