"""A process that is kept on some CPUs, and let go again."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from training.profiles.portable.machine import pinned, processor

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs affinities")


def test_the_caller_stays_on_one_cpu_and_is_let_go() -> None:
    before = os.sched_getaffinity(0)
    with pinned(1) as where:
        (cpu,) = os.sched_getaffinity(0)
        assert where == f"CPU {cpu}"
        assert cpu in before
    assert os.sched_getaffinity(0) == before


def test_threads_that_there_are_and_that_come_stay_with_the_caller() -> None:
    before, go, stop = os.sched_getaffinity(0), threading.Event(), threading.Event()
    found: dict[str, set[int]] = {}

    def look(name: str, when: threading.Event) -> None:
        when.wait(20)
        found[name] = os.sched_getaffinity(0)

    early = threading.Thread(target=look, args=("early", go))
    late = threading.Thread(target=look, args=("late", go))
    early.start()
    with pinned(len(before)):
        late.start()
        go.set()
        early.join()
        late.join()
    assert found == {"early": before, "late": before}
    after = threading.Thread(target=look, args=("after", stop))
    stop.set()
    after.start()
    after.join()
    assert found["after"] == os.sched_getaffinity(0) == before


def test_more_threads_than_cpus_are_refused() -> None:
    cpus = len(os.sched_getaffinity(0))
    with (
        pytest.raises(ValueError, match=f"^threads: expected at most {cpus}, as many as CPUs$"),
        pinned(cpus + 1),
    ):
        pass


def test_the_processor_has_a_name() -> None:
    assert processor().strip()
