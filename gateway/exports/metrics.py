"""What Prometheus can read of exports, under the prefix `compofa_`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gateway.calls import Call

_UNKNOWN = "unknown"  # one label for every name that is no device class: callers make those up
_BUILD_SECONDS = (1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 600.0)
_FETCH_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 50.0, 100.0, 500.0)


class ExportMetrics:
    """Counts fetches as they end, and builds. `resolve` says which class a name means."""

    def __init__(self, registry: CollectorRegistry, resolve: Callable[[str], str | None]) -> None:
        self._resolve = resolve
        self._fetches = Counter(
            "compofa_fetches",
            "Exports asked for, by device class, format and gRPC status.",
            ["device_class", "format", "code"],
            registry=registry,
        )
        self._seconds = Histogram(
            "compofa_fetch_seconds",
            "Time from a fetch's arrival to its end, whatever its status.",
            ["format"],
            buckets=_FETCH_SECONDS,
            registry=registry,
        )
        self._sent = Counter(
            "compofa_fetch_bytes",
            "Bytes of exports that were sent.",
            ["format"],
            registry=registry,
        )
        self._builds = Counter(
            "compofa_export_builds",
            "Exports built, that could not be, or that nobody waited for any longer.",
            ["format", "outcome"],
            registry=registry,
        )
        self._build_seconds = Histogram(
            "compofa_export_build_seconds",
            "Time to build an export, of those that were.",
            ["format"],
            buckets=_BUILD_SECONDS,
            registry=registry,
        )

    def observe(self, call: Call) -> None:
        """A `CallObserver`; sees to fetches alone."""
        if call.export_format:
            device_class = self._resolve(call.device_class) or _UNKNOWN
            self._fetches.labels(device_class, call.export_format, call.code).inc()
            self._seconds.labels(call.export_format).observe(call.seconds)

    def sent(self, format_name: str, size: int) -> None:
        """Count a chunk."""
        self._sent.labels(format_name).inc(size)

    @contextmanager
    def building(self, format_name: str) -> Iterator[None]:
        """Count what happens within as one build."""
        began, outcome = time.monotonic(), "failed"
        try:
            yield
            outcome = "built"
            self._build_seconds.labels(format_name).observe(time.monotonic() - began)
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            self._builds.labels(format_name, outcome).inc()


def add_export_gauges(
    registry: CollectorRegistry, cached_bytes: Callable[[], float], streams: Callable[[], float]
) -> None:
    """Register what is read when scraped."""
    Gauge(
        "compofa_export_cache_bytes",
        "Bytes of exports in the cache folder, of all gateways that share it.",
        registry=registry,
    ).set_function(cached_bytes)
    Gauge(
        "compofa_fetches_open", "Fetches that wait or are being sent.", registry=registry
    ).set_function(streams)
