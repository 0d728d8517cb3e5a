"""The production trace that policies are compared on, in parts, and how far one is ahead."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

from gateway.capacity.traffic import Times

ARRIVALS = Path(__file__).parents[3] / "shared/data/azure_code_arrivals.csv"


def parts_of(arrivals: Times, requests: int, count: int) -> list[Times]:
    """So many, evenly spread over it, each beginning at 0."""
    firsts = np.linspace(0, len(arrivals) - requests, count).astype(int)
    return [arrivals[first : first + requests] - arrivals[first] for first in firsts]


def ahead(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """The mean of the parts' differences, and its standard error; 0 where there is one part."""
    each = [own - other for own, other in zip(ours, theirs, strict=True)]
    return fmean(each), stdev(each) / math.sqrt(len(each)) if len(each) > 1 else 0.0
