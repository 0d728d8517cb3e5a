"""The live page, put together: what it remembers, who looks at it, and the port it is served on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from aiohttp import web

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
_CANNOT_ASK = "This gateway asks callers who they are, so its page only shows: ask it over gRPC."


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
            auto_decompress=False,
            keepalive_timeout=_KEEP_ALIVE_S,
            shutdown_timeout=_FLUSH_S,
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self._config.port).start()
        self.port: int = self._runner.addresses[0][1]
        self._telling = asyncio.create_task(feed.run())

    async def close(self) -> None:
        """End within seconds, whatever viewers do."""
        self._telling.cancel()
        with suppress(asyncio.CancelledError):
            await self._telling
        await self._viewers.end(_END_S)
        await self._runner.cleanup()

    def _asker(self, observe: CallObserver, is_draining: Callable[[], bool]) -> Asker:
        rate, burst = self._security.max_rate, self._security.max_burst
        rates = Rates(rate, burst) if rate else None
        return Asker(self._pipeline, self._limits, rates, observe, is_draining)

    def _served_as(self, name: str) -> str | None:
        fallback = self._pipeline.fallback_device_class
        return self._pipeline.resolve(name) or (fallback and self._pipeline.resolve(fallback))
