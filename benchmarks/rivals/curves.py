"""Simple ways from one device's latencies to another's: each looks at the known latency alone.

All take known and measured latencies of a few subnets, and known ones of the subnets to predict.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def proportion(known: Numbers, measured: Numbers, asked: Numbers) -> Numbers:
    """A factor."""
    predicted: Numbers = asked * np.mean(measured / known)
    return predicted


def line(known: Numbers, measured: Numbers, asked: Numbers) -> Numbers:
    """a + b x known, least squares of relative error."""
    rows = np.column_stack([1 / measured, known / measured])
    intercept, slope = np.linalg.lstsq(rows, np.ones(len(known)), rcond=None)[0]
    predicted: Numbers = intercept + slope * asked
    return predicted


def power_law(known: Numbers, measured: Numbers, asked: Numbers) -> Numbers:
    """a x known^b, least squares of logarithms."""
    slope, intercept = np.polyfit(np.log(known), np.log(measured), 1)
    predicted: Numbers = np.exp(intercept) * asked**slope
    return predicted


def monotone(known: Numbers, measured: Numbers, asked: Numbers) -> Numbers:
    """Isotonic regression (pool adjacent violators), straight between its points and in
    proportion beyond them."""
    order = np.argsort(known)
    pools: list[tuple[float, int]] = []
    for ms in measured[order]:
        pools.append((float(ms), 1))
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            (right, more), (left, count) = pools.pop(), pools.pop()
            pools.append(((left * count + right * more) / (count + more), count + more))
    fitted = np.repeat([ms for ms, _ in pools], [count for _, count in pools])
    x = known[order]
    inside = np.interp(asked, x, fitted)
    below, above = asked * fitted[0] / x[0], asked * fitted[-1] / x[-1]
    predicted: Numbers = np.where(asked < x[0], below, np.where(asked > x[-1], above, inside))
    return predicted
