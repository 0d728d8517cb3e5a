"""An event loop that is blocked is noticed from outside, and counted."""

import asyncio
import threading
import time
from contextlib import suppress

from gateway.heartbeat import Heartbeat


async def test_a_blocked_loop_is_noticed_while_it_is_blocked() -> None:
    late: list[float] = []
    heartbeat = Heartbeat(late.append, interval_s=0.01, stuck_after_s=0.2)
    beating = asyncio.create_task(heartbeat.run())
    await asyncio.sleep(0.05)
    assert not heartbeat.is_stuck
    noticed = threading.Event()

    def watch() -> None:
        until = time.monotonic() + 10
        while time.monotonic() < until and not heartbeat.is_stuck:
            time.sleep(0.01)
        if heartbeat.is_stuck:
            noticed.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert noticed.wait(10)  # in the loop's own thread: it is what blocks it
    watcher.join()
    await asyncio.sleep(0.05)
    assert not heartbeat.is_stuck
    assert max(late) >= 0.15
    beating.cancel()
    with suppress(asyncio.CancelledError):
        await beating
