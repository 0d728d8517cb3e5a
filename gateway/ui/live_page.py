"""The live page, put together: what it remembers, who looks at it, and the port it is served on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.calls import CallObserver
from gateway.pipeline import Pipeline
from gateway.ports import check_free
from gateway.security.config import SecurityConfig
from gateway.security.rates import Rates
from gateway.services.messages import InputLimits
from gateway.ui import documents
from gateway.ui.asking import Asker
from gateway.ui.config import UiConfig
from gateway.ui.feed import Feed
from gateway.ui.recent import Recent
from gateway.ui.site import Site
from gateway.ui.viewers import Viewers

HOST = "127.0.0.1"
_END_S = 1.0  # for viewers to read their last event
_FLUSH_S = 5.0  # for answers that are being made
_KEEP_ALIVE_S = 30.0
_BACKLOG = 16  # as many may be taken at once, before any of them is counted
MOST_OTHERS = 64
"""Connections besides those of viewers."""
_CANNOT_ASK = "This gateway asks callers who they are, so its page only shows: ask it over gRPC."


def _is_our_fault(record: logging.LogRecord) -> bool:
    """aiohttp calls it an error where a stranger's bytes are no HTTP, and would tell all of it."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


_log = logging.getLogger("gateway.page")
_log.addFilter(_is_our_fault)


class _TurnedAway(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


class LivePage:
    """`observe` is to see every call. Start it, and close it; `port` says where it is then."""

    def __init__(
        self, config: UiConfig, pipeline: Pipeline, limits: InputLimits, security: SecurityConfig
    ) -> None:
        self._config, self._pipeline, self._limits = config, pipeline, limits
        self._security = security
        self._recent = Recent(self._served_as)
        self.observe: CallObserver = self._recent.observe
        self._viewers = Viewers(config.max_viewers)

    async def start(self, observe: CallObserver, is_draining: Callable[[], bool]) -> None:
        """Serve. `observe` is told of each call that the page makes itself. Raises `OSError` naming
        the address where it is taken."""
        check_free(HOST, self._config.port)
        cannot_ask = _CANNOT_ASK if self._security.knows_callers else None
        net = documents.net(self._pipeline, self._limits.image_bytes, cannot_ask)
        feed = Feed(self._pipeline, self._recent, self._viewers, net, is_draining)
        asker = None if cannot_ask else self._asker(observe, is_draining)
        site = Site(self._pipeline, feed, self._viewers, asker, cannot_ask)
        self._runner = web.AppRunner(
            site.application(),
            access_log=None,
            logger=_log,
            auto_decompress=False,
            keepalive_timeout=_KEEP_ALIVE_S,
            shutdown_timeout=_FLUSH_S,
        )
        await self._runner.setup()
        self._listener = await asyncio.get_running_loop().create_server(
            self._accept, HOST, self._config.port, backlog=_BACKLOG
        )
        self.port: int = self._listener.sockets[0].getsockname()[1]
        self._telling = asyncio.create_task(feed.run())

    async def close(self) -> None:
        """End within seconds, whatever viewers do."""
        self._telling.cancel()
        with suppress(asyncio.CancelledError):
            await self._telling
        self._listener.close()
        await self._viewers.end(_END_S)
        await self._runner.cleanup()

    def _accept(self) -> asyncio.Protocol:
        """aiohttp itself takes any number of connections, each of them an open file."""
        server = self._runner.server
        assert server is not None
        room = self._config.max_viewers + MOST_OTHERS
        return server() if len(server.connections) < room else _TurnedAway()

    def _asker(self, observe: CallObserver, is_draining: Callable[[], bool]) -> Asker:
        rate, burst = self._security.max_rate, self._security.max_burst
        rates = Rates(rate, burst) if rate else None
        return Asker(self._pipeline, self._limits, rates, observe, is_draining)

    def _served_as(self, name: str) -> str | None:
        fallback = self._pipeline.fallback_device_class
        return self._pipeline.resolve(name) or (fallback and self._pipeline.resolve(fallback))
