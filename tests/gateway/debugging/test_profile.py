from __future__ import annotations

import threading
import time

import pytest

from gateway.debugging.pages import Asked, BusyError
from gateway.debugging.profile import Profile


def lines(text: str) -> dict[str, int]:
    pairs = (line.rpartition(" ") for line in text.splitlines())
    return {stack: int(count) for stack, _, count in pairs}


def test_where_threads_are_is_counted() -> None:
    end = threading.Event()

    def is_busy() -> None:
        while not end.is_set():
            sum(range(1000))

    thread = threading.Thread(target=is_busy, name="busy")
    thread.start()
    try:
        counts = lines(Profile()(Asked({"seconds": "0.4"})))
    finally:
        end.set()
        thread.join()
    busy = {stack: count for stack, count in counts.items() if stack.startswith("busy;")}
    assert busy
    assert all("is_busy" in stack for stack in busy)
    assert sum(busy.values()) == 20, "at each look"
    assert list(counts.values()) == sorted(counts.values(), reverse=True)


@pytest.mark.parametrize("seconds", ["0", "-1", "31", "nan", "soon", ""])
def test_a_profile_is_bounded(seconds: str) -> None:
    with pytest.raises(ValueError, match="seconds: expected a number above 0, at most 30, got"):
        Profile()(Asked({"seconds": seconds}))


def test_one_at_a_time() -> None:
    entered, end = threading.Event(), threading.Event()

    def sleep(_: float) -> None:
        entered.set()
        end.wait(30)

    profile = Profile(sleep)
    thread = threading.Thread(target=profile, args=(Asked({"seconds": "0.02"}),))
    thread.start()
    assert entered.wait(30)
    with pytest.raises(BusyError, match="another profile"):
        profile(Asked({}))
    end.set()
    thread.join()
    began = time.monotonic()
    profile(Asked({"seconds": "0.02"}))
    assert time.monotonic() - began < 30
