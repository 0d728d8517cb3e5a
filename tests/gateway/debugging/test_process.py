from __future__ import annotations

import asyncio
import threading
import time

import pytest

from gateway.debugging.pages import Asked, BusyError
from gateway.debugging.process import Tasks, stacks

NOTHING = Asked({})


def test_every_thread_has_its_stack() -> None:
    gate, secret = threading.Event(), "s3cret"

    def waits_for_the_gate(_: str) -> None:
        gate.wait(30)

    thread = threading.Thread(target=waits_for_the_gate, args=(secret,), name="waiting")
    thread.start()
    try:
        while "waits_for_the_gate" not in (shown := stacks(NOTHING)):
            time.sleep(0.01)
    finally:
        gate.set()
        thread.join()
    assert "thread waiting (" in shown
    assert "thread MainThread (" in shown
    assert secret not in shown, "places in the code, and no values"


async def test_every_task_says_what_it_waits_for() -> None:
    async def inner() -> None:
        await asyncio.sleep(30)

    async def outer() -> None:
        await inner()

    tasks = [asyncio.create_task(outer(), name=name) for name in ("mine", "yours")]
    shown = await asyncio.to_thread(Tasks(asyncio.get_running_loop()), NOTHING)
    for task in tasks:
        task.cancel()
    _, _, mine = shown.partition("mine and 1 more\n")
    places = mine.splitlines()
    assert places[0].endswith("outer")
    assert places[1].endswith("inner")
    assert "sleep" in places[2]


async def test_a_loop_that_is_blocked_is_not_waited_for() -> None:
    tasks = Tasks(asyncio.get_running_loop(), within_s=0.1)
    caught: list[BaseException] = []

    def ask() -> None:
        try:
            tasks(NOTHING)
        except BusyError as error:
            caught.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(30)  # in the loop's own thread
    assert "/debug/stacks says why" in str(caught[0])
    await asyncio.sleep(0)  # the look that came too late is let go


def test_a_loop_that_has_ended_is_said() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    with pytest.raises(BusyError, match="has ended"):
        Tasks(loop)(NOTHING)
