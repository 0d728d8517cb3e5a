"""How far a runtime is from the subnet, and on which images."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from supernet.artifact import Artifact
from training.exports.comparison import check_inputs, max_difference


@given(
    row=st.integers(0, 7),
    label=st.integers(0, 9),
    error=st.floats(-1, 1, width=32).filter(lambda e: abs(e) > 1e-3),
)
def test_an_error_in_any_logit_is_seen(row: int, label: int, error: float) -> None:
    x = torch.randn(8, 10, generator=torch.Generator().manual_seed(0))
    changed = x.clone()
    changed[row, label] += error
    found = max_difference(lambda batch: changed[: len(batch)], nn.Identity(), x)
    assert found == pytest.approx(abs(error), rel=1e-3)


def test_a_wrong_shape_is_a_mismatch() -> None:
    x = torch.zeros(8, 10)
    assert max_difference(lambda batch: batch[:1], nn.Identity(), x) == float("inf")


def test_other_nets_are_compared_on_the_same_noise_every_time(tiny: Artifact) -> None:
    x, source = check_inputs(tiny.manifest, 12)
    assert (x.shape, source) == ((8, 1, 12, 12), "8 images of seeded noise")
    assert torch.equal(x, check_inputs(tiny.manifest, 12)[0])
    low, high = (0 - 0.5) / 0.25, (1 - 0.5) / 0.25  # what pixels become with the tiny net's numbers
    assert low <= x.min() < 0.9 * low
    assert 0.9 * high < x.max() <= high
