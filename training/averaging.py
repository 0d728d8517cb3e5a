"""An exponential moving average of the weights, kept beside them while a phase runs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class MovingAverage:
    """The average of `parameters` over steps, with weight `decay` on what it was before.

    In the first steps the weight is smaller, (1 + n) / (10 + n), so that the start is forgotten.
    """

    def __init__(self, parameters: Sequence[Tensor], decay: float) -> None:
        self._parameters, self._decay = parameters, decay
        self.values = [parameter.detach().clone() for parameter in parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step`, counted from 0."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, list(self._parameters), 1.0 - decay)

    @torch.no_grad()
    def put_in_place(self) -> None:
        """Make the average the weights."""
        for parameter, value in zip(self._parameters, self.values, strict=True):
            parameter.copy_(value)
