"""The most accuracy that any policy could deliver on a trace: a linear program.

Requests come at known times and each has to be done within the same deadline. A policy may take any
subnet for each, or none; work may be split among cores and interrupted at will, and costs what an
image costs in the best batch. A real gateway knows no arrivals ahead and pays for each batch, so
this is above what can be reached.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linprog


@dataclass(frozen=True, slots=True)
class Choice:
    """One subnet: what it delivers, and the seconds of one core for an image."""

    accuracy: float
    work_s: float


@dataclass(frozen=True, slots=True)
class Bound:
    """`attainment` is the largest share of requests that can be answered in time, `accuracy` the
    largest mean of the answers where that many are answered."""

    attainment: float
    accuracy: float


def best_possible(
    arrivals_s: NDArray[np.float64], choices: Sequence[Choice], deadline_s: float, cores: int
) -> Bound:
    """`arrivals_s` [N], sorted."""
    cheapest = min(choice.work_s for choice in choices)
    served = _solve(arrivals_s, [Choice(1.0, cheapest)], deadline_s, cores, least=0.0)
    total = _solve(arrivals_s, choices, deadline_s, cores, least=served * (1 - 1e-9))
    return Bound(served / len(arrivals_s), total / served)


def _solve(
    arrivals_s: NDArray[np.float64],
    choices: Sequence[Choice],
    deadline_s: float,
    cores: int,
    least: float,
) -> float:
    """The largest sum of accuracies with at least `least` requests answered.

    As deadlines come in the order of arrivals, serving in that order loses nothing. Variables: the
    share of each subnet in each request [N x K], then when each request is done [N].
    """
    count, kinds = len(arrivals_s), len(choices)
    work = np.array([choice.work_s for choice in choices]) / cores
    rows = np.arange(count)
    shares = sparse.csr_matrix(
        (np.tile(work, count), (np.repeat(rows, kinds), np.arange(count * kinds))),
        shape=(count, count * kinds),
    )
    whole = sparse.csr_matrix(
        (np.ones(count * kinds), (np.repeat(rows, kinds), np.arange(count * kinds))),
        shape=(count, count * kinds),
    )
    done = sparse.identity(count, format="csr")
    before = sparse.csr_matrix((np.ones(count - 1), (rows[1:], rows[:-1])), shape=(count, count))
    nothing = sparse.csr_matrix((count, count))
    constraints = sparse.vstack(
        [
            sparse.hstack([shares, before - done]),  # done[i] >= done[i-1] + work[i]
            sparse.hstack([shares, -done]),  # done[i] >= arrival[i] + work[i]
            sparse.hstack([whole, nothing]),  # one subnet in all
            sparse.hstack([-sparse.csr_matrix(np.ones((1, count * kinds))), nothing[:1]]),
        ],
        format="csr",
    )
    bounds = np.concatenate([np.zeros(count), -arrivals_s, np.ones(count), [-least]])
    limits = [(0.0, 1.0)] * (count * kinds) + [(0.0, float(a + deadline_s)) for a in arrivals_s]
    accuracies = np.tile([choice.accuracy for choice in choices], count)
    objective = np.concatenate([-accuracies, np.zeros(count)])
    found = linprog(objective, constraints, bounds, bounds=limits, method="highs")
    if not found.success:
        raise RuntimeError(f"no bound: {found.message}")
    return float(-found.fun)
