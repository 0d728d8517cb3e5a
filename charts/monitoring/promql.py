"""Expressions as dashboards ask them, within what their variables select. Knows no panel."""

from __future__ import annotations

TARGETS = 'namespace=~"$namespace", job=~"$job"'
CLASSES = f'{TARGETS}, device_class=~"$device_class"'
BY_CLASS = "device_class"
BY_TARGET = "namespace, pod, instance"
_WITHIN = "[$__rate_interval]"


def gauge(metric: str, select: str = TARGETS) -> str:
    """A metric's own series."""
    return f"{metric}{{{select}}}"


def rate(metric: str, by: str = BY_CLASS, select: str = CLASSES) -> str:
    """How much a counter grows each second, summed `by` labels."""
    return f"sum by ({by}) (rate({metric}{{{select}}}{_WITHIN}))"


def grown(metric: str, by: str, select: str = TARGETS) -> str:
    """How much a counter has grown over the dashboard's whole time range."""
    return f"sum by ({by}) (increase({metric}{{{select}}}[$__range]))"


def mean(metric: str, by: str = BY_CLASS, select: str = CLASSES) -> str:
    """Of what a histogram or summary has observed."""
    return f"{rate(f'{metric}_sum', by, select)} / {rate(f'{metric}_count', by, select)}"


def quantile(q: float, metric: str, by: str = BY_CLASS, select: str = CLASSES) -> str:
    """Of what a histogram has observed, estimated within its buckets."""
    return f"histogram_quantile({q}, {rate(f'{metric}_bucket', f'{by}, le', select)})"


def buckets(metric: str, select: str = CLASSES) -> str:
    """A histogram's buckets over time, for a heat map."""
    return rate(f"{metric}_bucket", "le", select)
