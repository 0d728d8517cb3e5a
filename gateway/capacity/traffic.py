"""When requests come: at random, or as they were recorded."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]
"""Milliseconds, rising."""

SEED = 0


class Traffic(Protocol):
    """Requests as they come to all replicas together."""

    def fastest(self, least_ms: float) -> float:
        """The highest rate at which it goes on for so long."""
        ...

    def shares(self, rate: float, replicas: int, least_ms: float = 0.0) -> Iterator[Times]:
        """Of so many requests a second on average, what comes to each of the replicas, or to one
        that stands for all, for `least_ms` at least where `fastest` allows. Each request goes to a
        replica at random, as from many clients that know nothing of one another."""
        ...


@dataclass(frozen=True, slots=True)
class Poisson:
    """Independent of one another; `count` of them are looked at, or more where those are over too
    soon."""

    count: int = 20_000

    def fastest(self, least_ms: float) -> float:  # noqa: ARG002
        return math.inf

    def shares(self, rate: float, replicas: int, least_ms: float = 0.0) -> Iterator[Times]:
        gap_ms = 1000 * replicas / rate
        count = max(self.count, math.ceil(least_ms / gap_ms))
        gaps = np.random.default_rng(SEED).exponential(gap_ms, count)
        yield np.cumsum(gaps)


@dataclass(frozen=True, slots=True)
class Recorded:
    """With the bursts that they came in, faster or slower as a whole. `arrivals_s` rises."""

    arrivals_s: Times

    @classmethod
    def read(cls, path: Path) -> Recorded:
        """The first column of a CSV file: seconds since whenever. A first line without a number is
        a heading. Raises `ValueError` where there are too few, or it is something else."""
        with path.open(encoding="utf-8", newline="", errors="replace") as file:
            cells = [row[0] for row in csv.reader(file) if row]
        if cells and _number(cells[0]) is None:
            cells = cells[1:]
        numbers = [_number(cell) for cell in cells]
        wrong = next((c for c, n in zip(cells, numbers, strict=True) if n is None), None)
        if wrong is not None:
            raise ValueError(f"{path}: {wrong[:40]!r}: expected seconds in the first column")
        found = np.sort(np.array(numbers, np.float64))
        if len(found) < 2 or found[0] == found[-1]:
            raise ValueError(f"{path}: expected at least two arrivals at different times")
        return cls(found - found[0])

    def at(self, rate: float) -> Times:
        """All of them, at so many a second on average."""
        seconds = len(self.arrivals_s) / rate
        return np.asarray(self.arrivals_s / self.arrivals_s[-1] * (1000 * seconds))

    def fastest(self, least_ms: float) -> float:
        return 1000 * len(self.arrivals_s) / least_ms

    def shares(self, rate: float, replicas: int, least_ms: float = 0.0) -> Iterator[Times]:  # noqa: ARG002
        arrivals = self.at(rate)
        to = np.random.default_rng(SEED).integers(0, replicas, len(arrivals))
        for replica in range(replicas):
            yield arrivals[to == replica]


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if np.isfinite(value) else None
