"""The moving average forgets the start, follows the weights, and becomes them on request."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from training.averaging import MovingAverage


@given(decay=st.floats(0.01, 0.999), steps=st.integers(1, 40))
def test_average_of_weights_that_stand_still_is_those_weights(decay: float, steps: int) -> None:
    weight = nn.Parameter(torch.tensor([3.0, -1.0]))
    average = MovingAverage([weight], decay)
    for step in range(steps):
        average.update(step)
    torch.testing.assert_close(average.values[0], weight.detach())


def test_average_is_the_recurrence_with_a_short_memory_at_first() -> None:
    weight = nn.Parameter(torch.zeros(1))
    average = MovingAverage([weight], 0.9)
    expected = 0.0
    for step in range(200):
        with torch.no_grad():
            weight.fill_(step)
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert abs(average.values[0].item() - expected) < 1e-2
    assert abs(expected - (199 - 0.9 / 0.1)) < 0.1, "it lags by decay / (1 - decay) steps"


def test_average_takes_the_weights_place_without_sharing_memory() -> None:
    weight = nn.Parameter(torch.ones(2))
    average = MovingAverage([weight], 0.5)
    with torch.no_grad():
        weight.fill_(5.0)
    average.put_in_place()
    assert weight.tolist() == [1.0, 1.0]
    with torch.no_grad():
        weight.fill_(7.0)
    assert average.values[0].tolist() == [1.0, 1.0]
