"""Who looks at the live page: each with a bounded queue of what it has not read yet.

Whoever reads slower than is told is dropped, and may come again: nobody is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

from gateway.errors import GatewayError

_POLL_S = 0.01
MOST_WAITING = 8  # payloads; about four seconds' worth


class TooManyViewers(GatewayError):  # noqa: N818 - named for the answer it is
    """As many pages are open as may be."""

    code = "RESOURCE_EXHAUSTED"

    def __init__(self, most: int) -> None:
        super().__init__(
            f"{most} pages are open already; close one, or start with more --ui-max-viewers"
        )


class Viewer:
    """One open page. `drop` gives its connection up."""

    def __init__(self, drop: Callable[[], None]) -> None:
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue(MOST_WAITING)
        self.drop = drop

    def tell(self, payload: bytes) -> None:
        """Without waiting."""
        try:
            self._waiting.put_nowait(payload)
        except asyncio.QueueFull:
            self.drop()

    def end(self) -> None:
        """Let what reads it come to its end; what has not been read is not told any more."""
        while not self._waiting.empty():
            self._waiting.get_nowait()
        self._waiting.put_nowait(None)

    async def payloads(self) -> AsyncIterator[bytes]:
        """What it is told, until the end."""
        while (payload := await self._waiting.get()) is not None:
            yield payload


class Viewers:
    """At most `most` at once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: set[Viewer] = set()
        self._somebody = asyncio.Event()
        self._ended = False

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def seat(self, drop: Callable[[], None]) -> Iterator[Viewer]:
        """A place among them for as long as the body runs. Raises `TooManyViewers`."""
        if len(self._open) >= self._most:
            raise TooManyViewers(self._most)
        viewer = Viewer(drop)
        self._open.add(viewer)
        self._somebody.set()
        if self._ended:
            viewer.end()
        try:
            yield viewer
        finally:
            self._open.discard(viewer)
            if not self._open:
                self._somebody.clear()

    async def somebody(self) -> None:
        """Wait until there is one."""
        await self._somebody.wait()

    def tell(self, payload: bytes) -> None:
        """Tell all of them, without waiting."""
        for viewer in tuple(self._open):
            viewer.tell(payload)

    async def end(self, within_s: float) -> None:
        """Let all of them come to their end, and those who still come; drop who takes longer."""
        self._ended = True
        for viewer in tuple(self._open):
            viewer.end()
        clock = asyncio.get_running_loop().time
        until = clock() + within_s
        while self._open and clock() < until:
            await asyncio.sleep(_POLL_S)
        for viewer in tuple(self._open):
            viewer.drop()
