"""What Prometheus can read of reported latencies, under the prefix `compofa_`.

Clients make up what they report: only names of device classes that are known become labels.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway.learning.learner import Learner
from gateway.learning.report_book import ReportBook

UNKNOWN = "unknown"
_RATIOS = (0.1, 0.25, 0.5, 0.67, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0, 10.0)


class ReportMetrics:
    """Counts reports as they come, and versions as they are published."""

    def __init__(self, registry: CollectorRegistry) -> None:
        by_class = ["device_class"]
        self._reports = Counter(
            "compofa_latency_reports",
            "Reported latencies: taken, or why they were refused.",
            ["device_class", "outcome"],
            registry=registry,
        )
        self._ratio = Histogram(
            "compofa_reported_to_table_latency_ratio",
            "Reported latency divided by the one in the table in use, of the reports taken.",
            by_class,
            buckets=_RATIOS,
            registry=registry,
        )
        self._learned = Counter(
            "compofa_latency_tables_learned",
            "Versions of latency tables that this gateway has published.",
            by_class,
            registry=registry,
        )

    def taken(self, device_class: str, ratio: float) -> None:
        self._reports.labels(device_class, "taken").inc()
        self._ratio.labels(device_class).observe(ratio)

    def refused(self, device_class: str | None, reason: str) -> None:
        self._reports.labels(device_class or UNKNOWN, reason).inc()

    def published(self, device_class: str) -> None:
        self._learned.labels(device_class).inc()


def add_report_gauges(registry: CollectorRegistry, book: ReportBook, learner: Learner) -> None:
    """Register what is read when scraped."""
    Gauge(
        "compofa_latency_report_series",
        "Subnets of clients that reports are kept of.",
        registry=registry,
    ).set_function(lambda: book.series)
    registry.register(_ReportGauges(book, learner))


class _ReportGauges(Collector):
    """Clients and drift of each class, as they are at the scrape."""

    def __init__(self, book: ReportBook, learner: Learner) -> None:
        self._book, self._learner = book, learner

    def collect(self) -> Iterator[Metric]:
        clients = GaugeMetricFamily(
            "compofa_latency_report_clients",
            "Clients whose reports count, within the window.",
            labels=["device_class"],
        )
        drift = GaugeMetricFamily(
            "compofa_latency_drift_ratio",
            "Reported latency divided by the table's: the median over subnets of that over "
            "clients, where enough have reported.",
            labels=["device_class"],
        )
        for name in sorted(self._book.names):
            clients.add_metric([name], self._book.clients(name))
        for name, ratio in self._learner.drift.items():
            drift.add_metric([name], ratio)
        yield clients
        yield drift
