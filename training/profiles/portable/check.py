"""How well predictions agree with what was measured."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


@dataclass(frozen=True)
class Check:
    """Spearman's rank correlation, mean and worst relative error, over so many `subnets` that
    the predictions know nothing of."""

    rank_correlation: float
    mean_error: float
    worst_error: float
    subnets: int

    @classmethod
    def of(cls, predicted: Sequence[float], measured: Sequence[float]) -> Check:
        """Compare two rows of positive numbers, at least two each."""
        errors = [abs(p - m) / m for p, m in zip(predicted, measured)]  # noqa: B905
        correlation = spearman(predicted, measured)
        return cls(correlation, statistics.mean(errors), max(errors), len(errors))

    def __str__(self) -> str:
        return (
            f"rank correlation {self.rank_correlation:.3f}, mean error {self.mean_error:.1%}, "
            f"worst {self.worst_error:.1%} on {self.subnets} held-out subnets"
        )


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """The correlation of ranks; equal values share theirs. 0 where all are equal."""
    import numpy as np

    def ranks(values: Sequence[float]) -> Any:
        _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
        return (np.cumsum(counts) - (counts - 1) / 2)[which]

    a_ranks, b_ranks = ranks(a) - (len(a) + 1) / 2, ranks(b) - (len(b) + 1) / 2
    spread = float(np.sqrt((a_ranks @ a_ranks) * (b_ranks @ b_ranks)))
    return float(a_ranks @ b_ranks) / spread if spread else 0.0
