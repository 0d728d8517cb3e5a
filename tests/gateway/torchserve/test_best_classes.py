"""Logits as TorchServe's clients read them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.torchserve.best_classes import BEST, best_classes


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=20))
def test_the_best_come_first_with_their_shares(values: list[float]) -> None:
    logits = np.array(values, np.float32)
    best = best_classes(logits, [str(i) for i in range(len(values))])
    assert len(best) == min(BEST, len(values))
    assert list(best.values()) == sorted(best.values(), reverse=True)
    assert next(iter(best)) == str(logits.argmax())
    assert sum(best.values()) <= 1 + 1e-9


def test_shares_are_of_all_classes() -> None:
    best = best_classes(np.zeros(10, np.float32), list("abcdefghij"))
    assert best == pytest.approx(dict.fromkeys("abcde", 0.1))
