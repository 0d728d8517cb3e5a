"""The latency tables that travel with a finished run's artifact: one measured, two imagined."""

from __future__ import annotations

import math

from supernet.catalog import Catalog
from supernet.latency import LatencyTable

REFERENCE_CLASS = "reference-cpu"


def reference_tables(measured: LatencyTable, catalog: Catalog) -> list[LatencyTable]:
    """The measured table and two imagined slower classes, each with a default budget.

    The budgets admit the last, the middle and an early subnet of the Pareto frontier, so that
    the three classes are served by different subnets.
    """
    frontier = catalog.frontier(lambda entry: measured.latency_ms[entry.subnet])
    times = [measured.latency_ms[entry.subnet] for entry in frontier]
    early, middle, last = times[len(times) // 8], times[len(times) // 2], times[-1]
    return [
        measured.model_copy(update={"default_budget_ms": _rounded_up(last * 1.05)}),
        measured.scaled(4, "simulated-4x-slower", _rounded_up(4 * middle)),
        measured.scaled(16, "simulated-16x-slower", _rounded_up(16 * early)),
    ]


def _rounded_up(milliseconds: float) -> float:
    return math.ceil(milliseconds * 100) / 100
