"""Answers of a stream: in order, side by side, bounded, and nothing left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.services.in_order import in_order


class Answering:
    """Answers a number by itself once its gate is open; those of `slow` never."""

    def __init__(self, *slow: int) -> None:
        self.slow = slow
        self.begun: list[int] = []
        self.cancelled: list[int] = []
        self.at_work = self.most_at_work = 0

    async def __call__(self, number: int) -> int:
        self.begun.append(number)
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        try:
            await asyncio.sleep(30.0 if number in self.slow else 0.01 / (1 + number))
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        finally:
            self.at_work -= 1
        return number


async def numbers(count: int, ends_with: Exception | None = None) -> AsyncIterator[int]:
    for number in range(count):
        yield number
    if ends_with is not None:
        raise ends_with


def small(_: int) -> int:
    return 1


async def test_the_order_is_that_of_the_requests() -> None:
    assert [n async for n in in_order(numbers(20), Answering(), small)] == list(range(20))


async def test_no_more_are_read_than_may_be_unanswered() -> None:
    answering = Answering(0)
    answers = in_order(numbers(100), answering, small, most=5)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(answers), 0.1)
    assert 5 <= len(answering.begun) <= 7  # one is awaited, one waits for its place
    assert answering.cancelled == [0]


async def test_no_more_are_read_than_may_be_held_at_once() -> None:
    answering = Answering(0)
    answers = in_order(numbers(100), answering, lambda _: 10, most_bytes=25)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(answers), 0.1)
    assert answering.most_at_work == 3  # the first, which is never done, and two that come and go
    assert len(answering.begun) > 5


async def test_a_request_larger_than_all_may_hold_is_answered_alone() -> None:
    answering = Answering(1)
    answers = in_order(numbers(9), answering, lambda _: 50, most_bytes=25)
    assert await anext(answers) == 0
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(answers), 0.1)
    assert answering.begun == [0, 1]


async def test_what_was_read_is_answered_before_the_end_is_told() -> None:
    answers = in_order(numbers(3, ValueError("torn")), Answering(), small)
    assert [await anext(answers) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="torn"):
        await anext(answers)


async def test_a_caller_that_stops_cancels_what_is_left() -> None:
    answering = Answering(1, 2)
    answers = in_order(numbers(3), answering, small)
    assert await anext(answers) == 0
    await answers.aclose()  # type: ignore[attr-defined]
    assert sorted(answering.cancelled) == [1, 2]
