"""Handing out subnets as files, put together: cache, builder, library and streams."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import platformdirs
from prometheus_client import CollectorRegistry

from gateway.config import ExportConfig
from gateway.exports.builder import Builder
from gateway.exports.cache import ExportCache
from gateway.exports.library import ExportLibrary
from gateway.exports.metrics import ExportMetrics, add_export_gauges
from gateway.services.fetch_stream import FetchStreams


class HandingOut:
    """`streams` hands exports out, `observe` counts its calls. Start it, and close it."""

    def __init__(
        self,
        config: ExportConfig,
        artifact: Path,
        artifact_hash: str,
        registry: CollectorRegistry,
        resolve: Callable[[str], str | None],
    ) -> None:
        folder = config.cache or Path(platformdirs.user_cache_dir("compofa")) / "exports"
        cache = ExportCache(folder.absolute(), config.max_cache_bytes)
        metrics = ExportMetrics(registry, resolve)
        # A link that is pointed at another net does not change which one is served.
        builder = Builder(artifact.resolve(), config.max_build_s)
        library = ExportLibrary(cache, builder, config.max_builds, metrics)
        self.streams = FetchStreams(library, artifact_hash, config.max_streams, metrics)
        self.observe = metrics.observe
        self.start, self.close = library.start, library.close
        add_export_gauges(registry, cache.size_bytes, lambda: self.streams.open)
