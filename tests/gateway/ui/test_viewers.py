import asyncio

import pytest

from gateway.ui.viewers import MOST_WAITING, TooManyViewers, Viewer, Viewers


async def read(viewer: Viewer) -> list[bytes]:
    return [payload async for payload in viewer.payloads()]


def no_drop() -> None:
    raise AssertionError("nobody is to be dropped")


async def test_all_are_told_the_same_in_order() -> None:
    viewers = Viewers(2)
    with viewers.seat(no_drop) as one, viewers.seat(no_drop) as other:
        for payload in (b"1", b"2"):
            viewers.tell(payload)
        one_reads, other_reads = asyncio.create_task(read(one)), asyncio.create_task(read(other))
        await asyncio.sleep(0)
        one.end()
        other.end()
        assert await one_reads == await other_reads == [b"1", b"2"]


async def test_one_more_than_may_be_is_turned_away_until_a_seat_is_free() -> None:
    viewers = Viewers(1)
    with viewers.seat(no_drop), pytest.raises(TooManyViewers, match="1 pages are open"):
        viewers.seat(no_drop).__enter__()
    with viewers.seat(no_drop):
        assert len(viewers) == 1
    assert len(viewers) == 0


async def test_who_does_not_read_is_dropped_and_the_others_are_not() -> None:
    viewers, dropped = Viewers(2), []
    with viewers.seat(lambda: dropped.append("slow")), viewers.seat(no_drop) as quick:
        reads = asyncio.create_task(read(quick))
        for i in range(MOST_WAITING + 1):
            assert not dropped
            viewers.tell(b"%d" % i)
            await asyncio.sleep(0)
        assert dropped == ["slow"]
        quick.end()
        assert len(await reads) == MOST_WAITING + 1


async def test_the_end_comes_also_to_a_full_queue_and_to_who_comes_late() -> None:
    viewers = Viewers(2)
    ended = []
    with viewers.seat(lambda: ended.append("dropped")) as slow:
        for _ in range(MOST_WAITING):
            viewers.tell(b"x")
        await viewers.end(0.05)
        assert ended == ["dropped"]
        assert await read(slow) == []
        with viewers.seat(no_drop) as late:
            assert await read(late) == []


async def test_waiting_for_somebody() -> None:
    viewers = Viewers(1)
    waits = asyncio.create_task(viewers.somebody())
    await asyncio.sleep(0)
    assert not waits.done()
    with viewers.seat(no_drop):
        await asyncio.wait_for(waits, 5)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(viewers.somebody(), 0.01)
