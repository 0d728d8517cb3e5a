"""The reports of a gateway's clients, counted and condensed, in bounded memory.

A sketch (DDSketch; Masson, Rim and Lee, VLDB 2019) for each class, client and subnet keeps the
median to 1 %. They lie in two halves of the window, the older of which is dropped whole when the
newer is over: a report counts for half a window at least. Belongs to one event loop; knows no
wire format.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ddsketch import DDSketch

from gateway.config import LearningConfig
from gateway.device_classes import DeviceClasses
from gateway.errors import shown
from gateway.learning.evidence import Estimate, Evidence
from gateway.learning.learned_table import base_version
from gateway.learning.reports import RefusedReportError, Report
from gateway.stores.table_check import LONGEST_MS, SHORTEST_MS
from gateway.stores.tables import StoredTable

FARTHEST = 30.0
"""What is further from the table by this factor is in another unit, or of another device. It also
bounds a sketch: 340 bins."""
_AT_ONCE = 64  # sketches read before other work has its turn: well below a millisecond


@dataclass(slots=True)
class _Client:
    reports: int = 0
    sketches: dict[str, DDSketch] = field(default_factory=dict)


@dataclass(slots=True)
class _Half:
    """Half a window: clients by device class, and how many sketches they have in all."""

    began: float
    series: int = 0
    classes: dict[str, dict[str, _Client]] = field(default_factory=dict)

    def forget(self, device_class: str) -> None:
        gone = self.classes.pop(device_class, {})
        self.series -= sum(len(client.sketches) for client in gone.values())


class ReportBook:
    """Takes reports, and says what they come to.

    `names`, `clients` and `series` may be read from any thread: each copies names at one go.
    """

    def __init__(
        self,
        classes: DeviceClasses,
        artifact_hash: str,
        config: LearningConfig,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._classes, self._artifact_hash = classes, artifact_hash
        self._config, self._clock = config, clock
        self._halves: tuple[_Half, ...] = (_Half(clock()),)  # of the window, the newer last
        self._bases: dict[str, int] = {}

    @property
    def names(self) -> set[str]:
        """The device classes there are reports of."""
        return set().union(*(half.classes for half in self._halves))

    @property
    def series(self) -> int:
        """How many sketches are kept."""
        return sum(half.series for half in self._halves)

    def clients(self, device_class: str) -> int:
        """How many clients have reported of a device class, within the window."""
        return len(set().union(*(half.classes.get(device_class, {}) for half in self._halves)))

    def resolve(self, device_class: str) -> str | None:
        """The device class that reports of this name are about; None where there is none."""
        return self._classes.resolve(device_class)

    def take(self, report: Report) -> tuple[str, float]:
        """Count a report: the device class it is about, and its latency / the table's.

        Raises `RefusedReportError`.
        """
        stored = self._stored(report)
        name = stored.table.device_class
        expected_ms = stored.table.latency_ms.get(report.subnet)
        if expected_ms is None:
            raise RefusedReportError(
                "subnet", f"subnet: {shown(report.subnet)} is not in the table of {name!r}"
            )
        _check_latency(report.latency_ms, expected_ms)
        self._forget_what_is_over(stored)
        self._sketch(name, report).add(report.latency_ms)
        return name, report.latency_ms / expected_ms

    async def evidence(self, stored: StoredTable) -> Evidence:
        """One estimate for each client and subnet with enough reports over the base of `stored`.

        Lets others run in between.
        """
        self._forget_what_is_over(stored)
        parts: dict[tuple[str, str], list[DDSketch]] = {}
        for half in self._halves:
            for key, client in half.classes.get(stored.table.device_class, {}).items():
                for subnet, sketch in client.sketches.items():
                    parts.setdefault((key, subnet), []).append(sketch)
        estimates = []
        for i, ((key, subnet), sketches) in enumerate(parts.items()):
            if i % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
            sketch = _together(sketches)
            if sketch.count >= self._config.min_reports:
                median_ms = sketch.get_quantile_value(0.5)
                assert median_ms is not None, "it has counted something"
                estimates.append(Estimate(key, subnet, median_ms, int(sketch.count)))
        return Evidence(base=base_version(stored), estimates=tuple(estimates))

    def _stored(self, report: Report) -> StoredTable:
        if report.artifact_hash not in ("", self._artifact_hash):
            message = f"artifact_hash: {shown(report.artifact_hash)} is not what is served here"
            raise RefusedReportError("artifact", message)
        stored = self._classes.known(report.device_class)
        if stored is None:  # a fallback serves others, and learns nothing from them
            message = f"device_class: {shown(report.device_class)} is not known"
            raise RefusedReportError("device_class", message)
        return stored

    def _forget_what_is_over(self, stored: StoredTable) -> None:
        """What is older than the window, and what was reported before someone put another table:
        that was about another state of things."""
        now, half_s = self._clock(), self._config.window_s / 2
        age_s = now - self._halves[-1].began
        if age_s >= half_s:
            fresh = _Half(now)
            self._halves = (self._halves[-1], fresh) if age_s < 2 * half_s else (fresh,)
        name, base = stored.table.device_class, base_version(stored)
        if self._bases.setdefault(name, base) != base:
            self._bases[name] = base
            for half in self._halves:
                half.forget(name)

    def _sketch(self, name: str, report: Report) -> DDSketch:
        """Where a report is counted. Raises `RefusedReportError` where a bound is reached."""
        half, config = self._halves[-1], self._config
        client = half.classes.setdefault(name, {}).get(report.client) or _Client()
        if client.reports >= config.max_client_reports:
            most = f"{config.max_client_reports} reports in {config.window_s / 2:g} s"
            raise RefusedReportError("rate", f"expected at most {most} of one client")
        sketch = client.sketches.get(report.subnet)
        if sketch is None:
            if half.series >= config.max_series // 2:
                raise RefusedReportError("full", "no more can be kept for now")
            if len(client.sketches) >= config.max_client_series:
                most = f"{config.max_client_series} subnets of one client"
                raise RefusedReportError("full", f"expected at most {most}")
            sketch = client.sketches[report.subnet] = DDSketch()
            half.classes[name][report.client] = client
            half.series += 1
        client.reports += 1
        return sketch


def _together(sketches: list[DDSketch]) -> DDSketch:
    if len(sketches) == 1:
        return sketches[0]
    together = DDSketch()
    for sketch in sketches:
        together.merge(sketch)
    return together


def _check_latency(latency_ms: float, expected_ms: float) -> None:
    least = max(SHORTEST_MS, expected_ms / FARTHEST)
    most = min(LONGEST_MS, expected_ms * FARTHEST)
    if not (math.isfinite(latency_ms) and least <= latency_ms <= most):
        raise RefusedReportError(
            "latency", f"latency_ms: expected {least:.4g} to {most:.4g} ms, got {latency_ms:g}"
        )
