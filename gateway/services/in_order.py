"""Many requests of one stream at work at once, answered in their order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

Request = TypeVar("Request")
Response = TypeVar("Response")

MOST_UNANSWERED = 64
"""Requests of a stream that are read ahead; then the client has to wait."""


async def in_order(
    requests: AsyncIterator[Request],
    answer: Callable[[Request], Awaitable[Response]],
    most: int = MOST_UNANSWERED,
) -> AsyncIterator[Response]:
    """The answer to each request. What ends the requests, or fails an answer, is raised once all
    before it is answered; a caller that stops cancels what is left."""
    answers: asyncio.Queue[asyncio.Task[Response] | None] = asyncio.Queue(most)
    at_work: set[asyncio.Task[Response]] = set()

    async def run(request: Request) -> Response:
        return await answer(request)

    async def read() -> None:
        ended_by: Exception | None = None
        try:
            async for request in requests:
                task = asyncio.create_task(run(request))
                at_work.add(task)
                await answers.put(task)
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
