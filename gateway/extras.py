"""What a gateway has only where its configuration asks for it, and imports only then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from gateway.calls import CallObserver
from gateway.config import ServerConfig
from gateway.pipeline import Pipeline
from gateway.services.messages import input_limits
from gateway.stores import by_url as stores
from gateway.stores.table_follower import TableFollower

if TYPE_CHECKING:
    from gateway.debugging.pages import DebugPages
    from gateway.exports.handing_out import HandingOut
    from gateway.learning.fleet import Learning
    from gateway.services.fetch_stream import FetchStreams
    from gateway.services.report_stream import ReportStreams
    from gateway.tracing.request_spans import RequestSpans
    from gateway.tracing.sending import Tracing
    from gateway.ui.live_page import LivePage


@dataclass(frozen=True, slots=True)
class Extras:
    """`learning` moves tables by what clients report, `exports` hands subnets out as files,
    `tracing` sends spans, `debug` shows the inside, `page` is the live page."""

    learning: Learning | None = None
    exports: HandingOut | None = None
    tracing: Tracing | None = None
    debug: DebugPages | None = None
    page: LivePage | None = None

    @classmethod
    def of(
        cls,
        config: ServerConfig,
        pipeline: Pipeline,
        follower: TableFollower,
        registry: CollectorRegistry,
        tracing: Tracing | None,
    ) -> Extras:
        """From within the event loop that requests are served in."""
        return cls(
            _learning(config, pipeline, follower, registry),
            _exports(config, pipeline, registry),
            tracing,
            _debug(config, pipeline, follower),
            _page(config, pipeline),
        )

    @property
    def reports(self) -> ReportStreams | None:
        return self.learning.streams if self.learning else None

    @property
    def fetches(self) -> FetchStreams | None:
        return self.exports.streams if self.exports else None

    @property
    def spans(self) -> Sequence[RequestSpans]:
        """One, or none: calls become spans."""
        return [self.tracing.requests] if self.tracing else []

    @property
    def observers(self) -> Sequence[CallObserver]:
        """Who is told of each call, besides the spans."""
        return [each.observe for each in (self.exports, self.page) if each is not None]


def _learning(
    config: ServerConfig, pipeline: Pipeline, follower: TableFollower, registry: CollectorRegistry
) -> Learning | None:
    if config.learning is None:
        return None
    from gateway.learning.fleet import Learning

    manifest, open_store = pipeline.manifest, lambda: stores.open_store(config.store)
    return Learning(config.learning, follower.classes, manifest, open_store, registry)


def _exports(
    config: ServerConfig, pipeline: Pipeline, registry: CollectorRegistry
) -> HandingOut | None:
    if config.exports is None:
        return None
    from gateway.exports.handing_out import HandingOut

    artifact_hash = pipeline.manifest.artifact_hash
    return HandingOut(config.exports, config.artifact, artifact_hash, registry, pipeline.resolve)


def _debug(config: ServerConfig, pipeline: Pipeline, follower: TableFollower) -> DebugPages | None:
    if not config.debug:
        return None
    from gateway.debugging.opening import debug_pages

    return debug_pages(pipeline, follower)


def _page(config: ServerConfig, pipeline: Pipeline) -> LivePage | None:
    if config.ui is None:
        return None
    from gateway.ui.live_page import LivePage

    limits = input_limits(config, pipeline.manifest)
    return LivePage(config.ui, pipeline, limits, config.security)
