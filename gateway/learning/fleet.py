"""Learning from the fleet, put together: what takes reports and what moves tables by them.

Only gateways that are told to learn import it.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry

from gateway.config import LearningConfig
from gateway.device_classes import DeviceClasses
from gateway.learning.learner import Learner
from gateway.learning.report_book import ReportBook
from gateway.learning.report_metrics import ReportMetrics, add_report_gauges
from gateway.services.report_stream import ReportStreams
from gateway.stores.tables import TableStore
from supernet.manifest import Manifest


class Learning:
    """`streams` takes what clients report, `run` moves the tables in the store."""

    def __init__(
        self,
        config: LearningConfig,
        classes: DeviceClasses,
        manifest: Manifest,
        open_store: Callable[[], TableStore],
        registry: CollectorRegistry,
    ) -> None:
        metrics = ReportMetrics(registry)
        book = ReportBook(classes, manifest.artifact_hash, config)
        self._learner = Learner(
            classes, manifest, book, config, open_store, published=metrics.published
        )
        add_report_gauges(registry, book, self._learner)
        self.streams = ReportStreams(book, manifest.artifact_hash, config, metrics)
        self.run = self._learner.run
