"""Many requests of one stream at work at once, answered in their order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

Request = TypeVar("Request")
Response = TypeVar("Response")

MOST_UNANSWERED = 64
"""Requests of a stream that are read ahead; then the client has to wait."""
MOST_BYTES = 2**24
"""What the requests at work may hold together, but for the last one read: some 25 tensors of
ImageNet's size, more than every worker's batch."""


async def in_order(
    requests: AsyncIterator[Request],
    answer: Callable[[Request], Awaitable[Response]],
    size: Callable[[Request], int],
    most: int = MOST_UNANSWERED,
    most_bytes: int = MOST_BYTES,
) -> AsyncIterator[Response]:
    """The answer to each request of `size` bytes. What ends the requests, or fails an answer, is
    raised once all before it is answered; a caller that stops cancels what is left."""
    answers: asyncio.Queue[asyncio.Task[Response] | None] = asyncio.Queue(most)
    at_work: set[asyncio.Task[Response]] = set()
    held = 0
    room = asyncio.Event()

    async def run(request: Request, its_bytes: int) -> Response:
        nonlocal held
        try:
            return await answer(request)
        finally:
            held -= its_bytes
            room.set()

    async def read() -> None:
        nonlocal held
        ended_by: Exception | None = None
        try:
            async for request in requests:
                held += (its_bytes := size(request))
                task = asyncio.create_task(run(request, its_bytes))
                at_work.add(task)
                await answers.put(task)
                while held >= most_bytes:
                    room.clear()
                    await room.wait()
        except Exception as error:
            ended_by = error
        await answers.put(None)
        if ended_by is not None:
            raise ended_by

    reading = asyncio.create_task(read())
    try:
        while (task := await answers.get()) is not None:
            response = await task
            at_work.discard(task)
            yield response
        await reading
    finally:
        for left in (reading, *at_work):
            left.cancel()
        await asyncio.gather(reading, *at_work, return_exceptions=True)
