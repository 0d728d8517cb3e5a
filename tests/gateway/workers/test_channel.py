"""What joins two processes: whole messages, an end that is noticed, and memory that grows."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Iterator

import pytest

from gateway.workers.channel import KEPT_BYTES, Channel, SharedMemory

Ends = tuple[Channel, Channel]
LONG = "x" * 100_000  # more than a batch's message ever has


@pytest.fixture
def ends() -> Iterator[Ends]:
    pair = Channel.pair()
    yield pair
    for end in pair:
        end.close()


@pytest.fixture
def memory() -> Iterator[SharedMemory]:
    made = SharedMemory.made()
    yield made
    made.close()


@pytest.fixture
def other_end(memory: SharedMemory) -> Iterator[SharedMemory]:
    """The same memory as another process has it."""
    inherited = SharedMemory(os.dup(memory.fd))
    yield inherited
    inherited.close()


def test_messages_come_whole_and_in_order_both_ways(ends: Ends) -> None:
    ours, theirs = ends
    messages: list[object] = ["a", [1, None, 2.5, math.inf], {"b": ["c"]}, LONG]
    for message in messages:
        ours.send(message)
    assert [theirs.receive() for _ in messages] == messages
    theirs.send(messages)
    assert ours.receive() == messages


async def test_a_message_is_awaited_without_holding_the_loop_up(ends: Ends) -> None:
    ours, theirs = ends
    waiting = asyncio.create_task(ours.received())
    await asyncio.sleep(0)
    assert not waiting.done()
    theirs.send(["late", 1])
    assert await asyncio.wait_for(waiting, 5) == ["late", 1]
    ours.send("and back")
    assert theirs.receive() == "and back"


def test_an_end_can_be_had_by_its_file_descriptor(ends: Ends) -> None:
    ours, theirs = ends
    inherited = Channel.of(os.dup(theirs.fileno()))
    ours.send("hello")
    assert inherited.receive() == "hello"
    inherited.send("who is there")
    assert ours.receive() == "who is there"
    inherited.close()


def test_who_waits_for_so_long_in_vain_is_told(ends: Ends) -> None:
    ours, theirs = ends
    with pytest.raises(TimeoutError):
        ours.receive(0.001)
    theirs.send("now")
    assert ours.receive(5) == "now"


def test_a_closed_end_is_noticed_after_its_last_message(ends: Ends) -> None:
    ours, theirs = ends
    theirs.send("last words")
    theirs.close()
    assert ours.receive() == "last words"
    with pytest.raises(EOFError):
        ours.receive()
    with pytest.raises(OSError, match="Broken pipe"):
        ours.send("anybody?")


async def test_who_awaits_a_message_is_told_of_the_end(ends: Ends) -> None:
    ours, theirs = ends
    waiting = asyncio.create_task(ours.received())
    await asyncio.sleep(0)
    theirs.close()
    with pytest.raises(EOFError):
        await asyncio.wait_for(waiting, 5)


async def test_an_end_that_closed_on_an_unread_message_is_an_end_as_well(ends: Ends) -> None:
    ours, theirs = ends
    ours.send("unread")
    theirs.close()
    with pytest.raises(EOFError):
        await asyncio.wait_for(ours.received(), 5)


def test_an_end_on_an_unread_message_is_told_to_who_waits_without_a_loop(ends: Ends) -> None:
    ours, theirs = ends
    ours.send("unread")
    theirs.close()
    with pytest.raises(EOFError):
        ours.receive()


def test_both_see_the_same_memory(memory: SharedMemory, other_end: SharedMemory) -> None:
    memory.at_least(10)[:5] = b"there"
    seen = other_end.at_least(10)
    assert bytes(seen[:5]) == b"there"
    seen[5:10] = b" back"
    assert bytes(memory.at_least(10)[:10]) == b"there back"


def test_memory_grows_and_earlier_views_stay_good(
    memory: SharedMemory, other_end: SharedMemory
) -> None:
    early = memory.at_least(100)
    early[:4] = b"kept"
    grown = memory.at_least(1_000_000)
    assert (len(early), len(grown)) == (100, 1_000_000)
    assert bytes(grown[:4]) == b"kept"
    grown[:4] = b"anew"
    assert bytes(early[:4]) == b"anew"
    grown[-1] = 7
    assert other_end.at_least(1_000_000)[999_999] == 7
    assert len(memory.at_least(50)) >= 50


def test_what_few_batches_need_is_handed_back_and_can_be_had_again(
    memory: SharedMemory, other_end: SharedMemory
) -> None:
    much = 2 * KEPT_BYTES
    room = memory.at_least(much)
    room[:1], room[KEPT_BYTES:] = b"k", b"x" * (much - KEPT_BYTES)
    assert other_end.at_least(much)[much - 1] == ord("x")
    memory.hand_back()
    status = os.fstat(memory.fd)
    assert status.st_size == KEPT_BYTES
    assert 512 * status.st_blocks <= KEPT_BYTES
    again = memory.at_least(much)
    assert bytes(again[:1]) == b"k"
    assert bytes(again[KEPT_BYTES:]) == bytes(much - KEPT_BYTES)
    again[much - 1] = 3
    assert other_end.at_least(much)[much - 1] == 3


def test_what_most_batches_need_is_kept(memory: SharedMemory) -> None:
    memory.at_least(1000)[:4] = b"kept"
    memory.hand_back()
    assert os.fstat(memory.fd).st_size == 1000
    assert bytes(memory.at_least(1000)[:4]) == b"kept"
