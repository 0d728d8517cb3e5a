"""Tells those who look at the live page what happens, twice a second at most.

Nothing is written while nobody looks. A payload is one Server-Sent Event, made once for all.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from typing import NoReturn

from gateway.pipeline import DeviceClassInfo, Pipeline
from gateway.ui import documents
from gateway.ui.recent import MOST_FRESH, Recent
from gateway.ui.viewers import Viewers

INTERVAL_S = 0.5
QUIET_INTERVALS = 4
"""After which those who look are told that nothing happened: silence means a gateway that hangs."""

_log = logging.getLogger("gateway.errors")


class Feed:
    """`net` is what a page is told of the net, once."""

    def __init__(
        self,
        pipeline: Pipeline,
        recent: Recent,
        viewers: Viewers,
        net: documents.Document,
        is_draining: Callable[[], bool],
    ) -> None:
        self._pipeline, self._recent, self._viewers = pipeline, recent, viewers
        self._net, self._is_draining = net, is_draining
        self._told: tuple[DeviceClassInfo, ...] = ()

    def hello(self) -> bytes:
        """All that a page has to know to begin with."""
        return event(
            "hello",
            {"net": self._net} | documents.device_classes(self._pipeline) | self._news(0),
        )

    async def run(self) -> NoReturn:
        """Tell until cancelled."""
        while True:
            await self._viewers.somebody()
            self._told = self._pipeline.device_classes()
            try:
                await self._while_somebody_looks()
            except Exception as error:  # a page that stands still is not worth a gateway
                _log.error("the live page stands still", exc_info=error)
                await asyncio.sleep(INTERVAL_S)

    async def _while_somebody_looks(self) -> None:
        """Where device classes change while nobody looks, `hello` tells whoever comes. The first
        news tell again what `hello` may have told, for more may have come in between: rows have
        numbers."""
        number, before, quiet = max(0, self._recent.count - MOST_FRESH), self._state(), 0
        while self._viewers:
            await asyncio.sleep(INTERVAL_S)
            self._tell_of_classes()
            state, quiet = self._state(), quiet + 1
            if state != before or self._recent.count > number or quiet >= QUIET_INTERVALS:
                self._viewers.tell(event("news", self._news(number)))
                number, before, quiet = self._recent.count, state, 0

    def _tell_of_classes(self) -> None:
        now = self._pipeline.device_classes()
        if now != self._told:
            self._told = now
            self._viewers.tell(event("classes", documents.device_classes(self._pipeline)))

    def _state(self) -> tuple[bool, int]:
        return self._is_draining(), self._pipeline.pending

    def _news(self, after: int) -> documents.Document:
        """What came after the row of that number."""
        rows, left_out = self._recent.after(after)
        draining, pending = self._state()
        return {
            "rows": [row._asdict() for row in rows],
            "left_out": left_out,
            "sums": self._recent.sums(),
            "count": self._recent.count,
            "pending": pending,
            "draining": draining,
        }


def event(kind: str, document: Mapping[str, object]) -> bytes:
    """One Server-Sent Event with a JSON document, in one line."""
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    return f"event: {kind}\ndata: {text}\n\n".encode()
