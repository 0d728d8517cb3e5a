"""A device class's latencies from a few measured subnets and another class's table.

What a subnet takes is taken for a sum of what it takes on the known device and of its work of
several kinds, each with a weight of its own that is not negative. Least squares of relative error
find the weights; a ridge keeps them near the known device's latencies in proportion where the
measurements do not say otherwise, and leaving out one measurement at a time says how strong it
should be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from supernet.architecture import Architecture
from supernet.design_space import DesignSpace
from supernet.latency import LatencyTable
from supernet.workload import workload

FEWEST = 3
"""Measurements: with less, proportion and one other weight could not be told apart."""
_RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_SWEEPS = 3000
Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Transfer:
    """Latencies in ms by subnet id, and the mean relative error of predicting each measured
    subnet from the others."""

    latency_ms: dict[str, float]
    expected_error: float


def pick(space: DesignSpace, known_ms: Mapping[str, float], count: int) -> list[str]:
    """The subnets to measure: one after another that which leaves least variance in what is then
    predicted of all (I-optimal design).

    Raises `ValueError` for fewer than `FEWEST`, or more than there are.
    """
    if not FEWEST <= count <= len(known_ms):
        raise ValueError(
            f"expected from {FEWEST} to {len(known_ms)} subnets to measure, got {count}"
        )
    subnets, rows = list(known_ms), _relative(space, known_ms)
    spread = rows.T @ rows
    inverse = np.eye(rows.shape[1]) / 1e-3  # before any measurement, next to nothing is known
    chosen: list[int] = []
    for _ in range(count):
        seen = rows @ inverse
        gain = np.einsum("ij,jk,ik->i", seen, spread, seen) / (1 + (seen * rows).sum(1))
        gain[chosen] = -np.inf
        best = int(gain.argmax())
        chosen.append(best)
        inverse = inverse - np.outer(seen[best], seen[best]) / (1 + seen[best] @ rows[best])
    return [subnets[i] for i in chosen]


def transfer(
    space: DesignSpace, known_ms: Mapping[str, float], measured_ms: Mapping[str, float]
) -> Transfer:
    """Predict every subnet of `known_ms`; those that were measured keep what was measured.

    Raises `ValueError` for fewer than `FEWEST` measurements, or one of a subnet not known.
    """
    if len(measured_ms) < FEWEST:
        raise ValueError(f"expected at least {FEWEST} measured subnets, got {len(measured_ms)}")
    unknown = [subnet for subnet in measured_ms if subnet not in known_ms]
    if unknown:
        raise ValueError(f"subnet {unknown[0]!r}: it has no latency in the table to transfer from")
    subnets = list(known_ms)
    costs = _costs(space, known_ms)
    at = [subnets.index(subnet) for subnet in measured_ms]
    measured = np.array(list(measured_ms.values()))
    ridge, error = _best_ridge(costs[at], measured)
    predicted = costs @ _weights(costs[at], measured, ridge)
    latency_ms = dict(zip(subnets, predicted.tolist(), strict=True)) | dict(measured_ms)
    return Transfer(latency_ms, error)


def transferred_table(
    space: DesignSpace, known: LatencyTable, measured: LatencyTable
) -> LatencyTable:
    """The whole table of the device class that `measured` has a few subnets of."""
    count = len(measured.latency_ms)
    found = transfer(space, known.latency_ms, measured.latency_ms)
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
        latency_ms={subnet: round(ms, 6) for subnet, ms in sorted(found.latency_ms.items())},
        default_budget_ms=measured.default_budget_ms,
        conditions=measured.conditions | told,
    )


def _costs(space: DesignSpace, known_ms: Mapping[str, float]) -> Numbers:
    """A row a subnet [N, K]: its latency on the known device, then its work; each kind of cost
    about 1 on average."""
    work = np.array([workload(space, Architecture.parse(subnet)) for subnet in known_ms])
    costs = np.column_stack([list(known_ms.values()), work[:, work.any(0)]])
    scaled: Numbers = costs / costs.mean(0)
    return scaled


def _relative(space: DesignSpace, known_ms: Mapping[str, float]) -> Numbers:
    """Costs in proportion to what a subnet takes on the known device, as errors are judged."""
    costs = _costs(space, known_ms)
    rows: Numbers = costs / costs[:, :1]
    return rows


def _weights(costs: Numbers, measured: Numbers, ridge: float) -> Numbers:
    """Weights of the costs, none negative."""
    rows = costs / measured[:, None] * measured.mean()
    prior = np.full(costs.shape[1], len(measured) * ridge)
    prior[0] = 0.0  # the known device's latencies are believed in, as far as proportion goes
    gram = rows.T @ rows + np.diag(prior)
    target = rows.sum(0)
    weights = np.zeros(len(target))
    for _ in range(_SWEEPS):
        for k in range(len(target)):
            weights[k] = max(0.0, weights[k] + (target[k] - gram[k] @ weights) / gram[k, k])
    found: Numbers = weights * measured.mean()
    return found


def _best_ridge(costs: Numbers, measured: Numbers) -> tuple[float, float]:
    """The ridge that predicts each measurement best from the others, and the mean error so."""
    errors = {ridge: _left_out_error(costs, measured, ridge) for ridge in _RIDGES}
    best = min(errors, key=errors.__getitem__)
    return best, errors[best]


def _left_out_error(costs: Numbers, measured: Numbers, ridge: float) -> float:
    error = 0.0
    for i, actual in enumerate(measured):
        others = np.arange(len(measured)) != i
        predicted = costs[i] @ _weights(costs[others], measured[others], ridge)
        error += abs(predicted - actual) / actual / len(measured)
    return error
