"""A device class's latencies from a few measured subnets and another class's table.

A latency is taken for a weighted sum: of what the subnet takes on the known device, altogether and
at its resolution, and of its work of several kinds. The weights are those of a linear model with
noise and a prior in proportion to latency (ridge regression in relative error): before anything is
measured, devices are thought to differ by a factor, by some `WORK_SHARE` of a latency in what each
kind of work costs, and by some `RESOLUTION_SHARE` at each resolution. The same prior says which
subnets to measure. `benchmarks/transfer.py` compares it with others on pairs of real devices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from supernet.architecture import Architecture
from supernet.design_space import DesignSpace
from supernet.latency import LatencyTable
from supernet.workload import workload

FEWEST = 3
"""Measurements, of which one could be wrong and the others would show it."""
WORK_SHARE, RESOLUTION_SHARE, NOISE_SHARE = 0.15, 0.05, 0.02
"""Standard deviations, as shares of a latency."""
TOO_FAR, HOPELESS = 0.05, 0.5
"""Expected errors from which a table is warned of, and refused."""
TOO_ODD = 100.0
"""Times by which two subnets' factors between two devices never differ; no weights are sought."""
Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Transfer:
    """Latencies in ms by subnet id, and the mean relative error of predicting each measured
    subnet from the others; `doubtful` is the one that fits them worst."""

    latency_ms: dict[str, float]
    expected_error: float
    doubtful: str


def pick(space: DesignSpace, known_ms: Mapping[str, float], count: int) -> list[str]:
    """The subnets to measure: one after another that after which least variance is left in what
    is predicted of all (a greedy I-optimal design).

    Raises `ValueError` for fewer than `FEWEST`, or more than there are.
    """
    if len(known_ms) < FEWEST:
        raise ValueError(
            f"the known device class has {len(known_ms)} subnets, expected at least {FEWEST}"
        )
    if not FEWEST <= count <= len(known_ms):
        raise ValueError(
            f"expected from {FEWEST} to {len(known_ms)} subnets to measure, got {count}"
        )
    subnets, (costs, spread) = list(known_ms), _costs(space, known_ms)
    rows = costs / costs[:, :1] * spread
    moments, covariance = rows.T @ rows, np.eye(len(spread))
    chosen: list[int] = []
    for _ in range(count):
        seen = rows @ covariance
        gain = ((seen @ moments) * seen).sum(1) / (1 + (seen * rows).sum(1))
        gain[chosen] = -np.inf
        best = int(gain.argmax())
        chosen.append(best)
        covariance -= np.outer(seen[best], seen[best]) / (1 + seen[best] @ rows[best])
    return [subnets[i] for i in chosen]


def transfer(
    space: DesignSpace, known_ms: Mapping[str, float], measured_ms: Mapping[str, float]
) -> Transfer:
    """Predict every subnet of `known_ms`; those that were measured keep what was measured.

    Raises `ValueError` for fewer than `FEWEST` measurements, one that is no latency or of a
    subnet not known, and for measurements that no device could have given.
    """
    _check(known_ms, measured_ms)
    subnets, (costs, spread) = list(known_ms), _costs(space, known_ms)
    at = [subnets.index(subnet) for subnet in measured_ms]
    measured = np.array(list(measured_ms.values()))
    predicted = costs @ _weights(costs[at], spread, measured)
    worst = int(predicted.argmin())
    if predicted[worst] <= 0:
        raise ValueError(
            f"the measurements fit no device: subnet {subnets[worst]} would take "
            f"{predicted[worst]:.3g} ms; measure them again"
        )
    found = dict(zip(subnets, predicted.tolist(), strict=True)) | dict(measured_ms)
    errors = _left_out_errors(costs[at], spread, measured)
    return Transfer(found, float(errors.mean()), list(measured_ms)[int(errors.argmax())])


def transferred_table(
    space: DesignSpace, known: LatencyTable, measured: LatencyTable, warn: Callable[[str], None]
) -> LatencyTable:
    """The whole table of the device class that `measured` has a few subnets of; `warn` gets a
    line where they fit each other badly. Raises `ValueError` as `transfer`, and where they do not
    fit at all."""
    count = len(measured.latency_ms)
    found = transfer(space, known.latency_ms, measured.latency_ms)
    if found.expected_error > TOO_FAR:
        doubts = (
            f"expected error {found.expected_error:.1%}: measured subnets do not fit each other, "
            f"least of all {found.doubtful} with {measured.latency_ms[found.doubtful]:g} ms"
        )
        if found.expected_error > HOPELESS:
            raise ValueError(f"{doubts}; measure again")
        warn(doubts)
    told = {
        "from": known.device_class,
        "measurements": str(count),
        "expected_error": f"{found.expected_error:.1%}, leaving out one measurement at a time",
    }
    return LatencyTable(
        device_class=measured.device_class,
        artifact_hash=measured.artifact_hash,
        kind="transferred",
        source=f"transferred from {known.device_class} by {count} measurements",
        measured=False,
        latency_ms={subnet: float(f"{ms:.5g}") for subnet, ms in sorted(found.latency_ms.items())},
        default_budget_ms=measured.default_budget_ms,
        conditions=measured.conditions | told,
    )


def _check(known_ms: Mapping[str, float], measured_ms: Mapping[str, float]) -> None:
    if len(measured_ms) < FEWEST:
        raise ValueError(f"expected at least {FEWEST} measured subnets, got {len(measured_ms)}")
    for subnet, ms in measured_ms.items():
        if subnet not in known_ms:
            raise ValueError(f"subnet {subnet!r}: the known device class has no latency of it")
        if not 0 < ms < math.inf:
            raise ValueError(f"subnet {subnet!r}: expected a positive number of ms, got {ms}")
    factors = {subnet: math.log(ms / known_ms[subnet]) for subnet, ms in measured_ms.items()}
    usual = float(np.median(list(factors.values())))
    oddest = max(factors, key=lambda subnet: abs(factors[subnet] - usual))
    if abs(factors[oddest] - usual) > math.log(TOO_ODD):
        raise ValueError(
            f"the measurements fit no device: subnet {oddest} with {measured_ms[oddest]:g} ms, by "
            f"the others about {known_ms[oddest] * math.exp(usual):.3g} ms; measure them again"
        )


def _costs(space: DesignSpace, known_ms: Mapping[str, float]) -> tuple[Numbers, Numbers]:
    """What latencies are sums of [N, K], each kind of cost about 1 on average, and how far its
    weight may be from nothing [K], in units of the noise.

    First comes what a subnet takes on the known device, whose weight is free; then its work of
    each kind; then the known latency again, once for each resolution.
    """
    archs = [Architecture.parse(subnet) for subnet in known_ms]
    known = np.array(list(known_ms.values()), np.float64)[:, None]
    work = np.array([workload(space, arch) for arch in archs])
    work = work[:, work.any(0)]  # not every net has gates
    at = np.array([arch.resolution for arch in archs])[:, None]
    resolutions = np.unique(at)
    kinds = [known, work / work.mean(0) * known.mean(), known * (at == resolutions)]
    shares = [1e3, *[WORK_SHARE] * work.shape[1], *[RESOLUTION_SHARE] * len(resolutions)]
    return np.hstack(kinds) / known.mean(), np.array(shares) / NOISE_SHARE


def _weights(costs: Numbers, spread: Numbers, measured: Numbers) -> Numbers:
    """The most likely weights, in ms."""
    scale = measured.mean()
    rows = costs * (scale / measured)[:, None] * spread
    # By singular values: normal equations square the range of the spreads and may not be solvable.
    wanted = np.append(np.ones(len(rows)), np.zeros(len(spread)))
    weights = np.linalg.lstsq(np.vstack([rows, np.eye(len(spread))]), wanted)[0]
    in_ms: Numbers = weights * spread * scale
    return in_ms


def _left_out_errors(costs: Numbers, spread: Numbers, measured: Numbers) -> Numbers:
    """Relative error of predicting each from the others [M]."""
    errors = np.empty(len(measured))
    for i, actual in enumerate(measured):
        others = np.arange(len(measured)) != i
        predicted = costs[i] @ _weights(costs[others], spread, measured[others])
        errors[i] = abs(predicted / actual - 1)
    return errors
