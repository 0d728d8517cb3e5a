"""From evidence to a table: robust, bounded, and pure.

The latency of a subnet is estimated by the median over clients of each client's own median. As
long as fewer than half of a subnet's clients lie, that lies between what honest ones say, whatever
the others say and however often (the median's breakdown point; Huber, Robust Statistics, 1981).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from gateway.learning.evidence import Estimate, Evidence
from gateway.stores.table_check import LONGEST_MS, SHORTEST_MS
from gateway.stores.tables import StoredTable
from supernet.latency import LatencyTable

_BASE = "base_version"
_NEIGHBOURS = 3


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far a table moves on what evidence.

    A subnet counts that `min_clients` clients have reported. Nothing moves where all would move
    by less than the fraction `min_change`. No latency moves by more than the factor `max_step` at
    a time, nor further than `max_total` from the base: the version that was not learned.
    """

    min_clients: int
    min_change: float
    max_step: float
    max_total: float


def base_version(stored: StoredTable) -> int:
    """The version that was not learned from which this one was; its own where it was not."""
    said = stored.table.conditions.get(_BASE, "")
    if stored.table.kind != "learned" or not said.isdecimal() or int(said) >= stored.version:
        return stored.version
    return int(said)


def reported_ratios(table: LatencyTable, evidence: Evidence, min_clients: int) -> dict[str, float]:
    """Reported latency / the table's, for each subnet that enough clients have reported."""
    return {
        subnet: median(e.latency_ms for e in estimates) / table.latency_ms[subnet]
        for subnet, estimates in _counting(table, evidence, min_clients).items()
    }


def learned_table(
    base: StoredTable, current: StoredTable, evidence: Evidence, bounds: Bounds
) -> LatencyTable | None:
    """What is to follow `current`, which is `base` or was learned from it; None where the
    evidence is too little or moves nothing by much.

    A subnet with evidence moves to what is reported. One without moves along with those nearest
    in latency: when a device grows slower all of its subnets do, not always alike, and one that
    stayed behind would be chosen for looking fast. Its own evidence corrects it once it is chosen.
    """
    before = current.table.latency_ms
    ratios = reported_ratios(current.table, evidence, bounds.min_clients)
    if not ratios:
        return None
    targets = {
        subnet: ms * (ratios[subnet] if subnet in ratios else _ratio_near(ms, before, ratios))
        for subnet, ms in before.items()
        if subnet in base.table.latency_ms
    }
    after = {
        subnet: _bounded(target, before[subnet], base.table.latency_ms[subnet], bounds)
        for subnet, target in targets.items()
    }
    moved = max((_distance(after[s], before[s]) for s in after), default=0.0)
    if moved < math.log1p(bounds.min_change):
        return None
    counted = _counting(current.table, evidence, bounds.min_clients)
    return _document(base, current, after, [e for es in counted.values() for e in es])


def _counting(
    table: LatencyTable, evidence: Evidence, min_clients: int
) -> dict[str, list[Estimate]]:
    return {
        subnet: estimates
        for subnet, estimates in evidence.by_subnet().items()
        if subnet in table.latency_ms and len(estimates) >= min_clients
    }


def _ratio_near(
    latency_ms: float, before: Mapping[str, float], ratios: Mapping[str, float]
) -> float:
    """The median ratio of the reported subnets whose latencies are nearest to this one."""
    nearest = sorted(ratios, key=lambda subnet: _distance(before[subnet], latency_ms))
    return median(ratios[subnet] for subnet in nearest[:_NEIGHBOURS])


def _bounded(target: float, now: float, base: float, bounds: Bounds) -> float:
    total, step = bounds.max_total, bounds.max_step
    target = min(max(target, base / total), base * total)
    target = min(max(target, now / step), now * step)
    return min(max(target, SHORTEST_MS), LONGEST_MS)


def _distance(one: float, other: float) -> float:
    return abs(math.log(one / other))


def _document(
    base: StoredTable, current: StoredTable, after: dict[str, float], counted: list[Estimate]
) -> LatencyTable:
    """Without percentiles, deviations and blocks: those were measured, and no longer hold."""
    table = current.table
    reports, clients = sum(e.reports for e in counted), len({e.client for e in counted})
    found = {
        _BASE: str(base.version),
        "reports": str(reports),
        "clients": str(clients),
        "reported_subnets": str(len({e.subnet for e in counted})),
    }
    return LatencyTable(
        device_class=table.device_class,
        artifact_hash=table.artifact_hash,
        kind="learned",
        source=f"learned from {reports} reports of {clients} clients over version {base.version}",
        measured=False,
        latency_ms=after,
        default_budget_ms=table.default_budget_ms,
        conditions=base.table.conditions | found,
    )
