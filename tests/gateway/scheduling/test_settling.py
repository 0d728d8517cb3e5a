"""Futures that threads settle, and how often the loop is woken for them."""

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from gateway.scheduling.settling import awaitable, settled_together


class Wakings:
    """Counts how often other threads wake the running loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop, self.count = asyncio.get_running_loop(), 0
        real = loop.call_soon_threadsafe

        def counted(*args: object, **kwargs: object) -> object:
            self.count += 1
            return real(*args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(loop, "call_soon_threadsafe", counted)


async def test_many_are_settled_with_one_wake_up(monkeypatch: pytest.MonkeyPatch) -> None:
    sources: list[Future[int]] = [Future() for _ in range(8)]
    waiting = [asyncio.ensure_future(awaitable(source)) for source in sources]

    def settle() -> None:
        with settled_together():
            for value, source in enumerate(sources[:-1]):
                source.set_result(value)
            sources[-1].set_exception(KeyError("seven"))

    wakings = Wakings(monkeypatch)
    with ThreadPoolExecutor(1) as thread:
        thread.submit(settle).result()
    assert wakings.count == 1
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert found[:-1] == list(range(7))
    assert isinstance(found[-1], KeyError)


async def test_one_that_settles_alone_is_heard_at_once() -> None:
    source: Future[str] = Future()
    with ThreadPoolExecutor(1) as thread:
        waiting = awaitable(source)
        thread.submit(source.set_result, "done")
        assert await asyncio.wait_for(waiting, 5) == "done"


async def test_who_gives_up_cancels_the_source() -> None:
    source: Future[str] = Future()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(awaitable(source), 0.01)
    assert source.cancelled()


async def test_a_cancelled_source_cancels_who_waits() -> None:
    source: Future[str] = Future()
    waiting = awaitable(source)
    source.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_one_settled_before_is_there() -> None:
    source: Future[str] = Future()
    source.set_result("early")
    assert await awaitable(source) == "early"


def test_a_loop_that_is_closed_is_left_alone() -> None:
    source: Future[str] = Future()

    async def begin() -> None:
        awaitable(source)

    asyncio.run(begin())
    source.set_result("late")
