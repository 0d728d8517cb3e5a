"""Logits as TorchServe's clients read them: the best classes with their probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BEST = 5


def best_classes(logits: NDArray[np.float32], labels: Sequence[str]) -> dict[str, float]:
    """Probabilities of the `BEST` classes by logits [classes], the best first."""
    shares = np.exp(logits.astype(np.float64) - logits.max())
    shares /= shares.sum()
    return {labels[i]: float(shares[i]) for i in np.argsort(-logits, kind="stable")[:BEST]}
