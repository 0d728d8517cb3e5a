"""From gradients to new weights: the optimizer of a phase and the moving average beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from supernet.model import Supernet
from training.averaging import MovingAverage
from training.muon import MuonUpdater, matrices
from training.processes import Processes
from training.recipe import Phase, Recipe
from training.step import Gradients


class Updater:
    """SGD with Nesterov momentum on all that `supernet` trains in `phase`, but for the matrices
    where the recipe gives them to Muon.

    SGD's weight decay is on convolutions and the classifier only.
    """

    def __init__(
        self, recipe: Recipe, phase: Phase, supernet: Supernet, processes: Processes
    ) -> None:
        self.parameters = trained_parameters(supernet)
        self._clip_norm, self._processes = recipe.clip_norm, processes
        self._micro_batches = phase.micro_batches
        muon = recipe.muon_of(phase)
        own = matrices(supernet) if muon else []
        self._muon = MuonUpdater(own, muon) if muon else None
        weights = [p for p in self.parameters if p.ndim > 1 and all(p is not m for m in own)]
        groups: list[dict[str, Any]] = [
            {"params": weights, "weight_decay": recipe.weight_decay},
            {"params": [p for p in self.parameters if p.ndim == 1], "weight_decay": 0.0},
        ]
        momentum = recipe.momentum
        self._optimizer = torch.optim.SGD(groups, lr=0.0, momentum=momentum, nesterov=momentum > 0)
        self._average = MovingAverage(self.parameters, phase.ema) if phase.ema else None

    @torch.no_grad()
    def collect(self, parts: Sequence[Gradients]) -> float:
        """Take gradients in: sum over micro-batches in a fixed order, then over processes;
        average; clip. Returns their norm before clipping."""
        sums: list[Tensor | None] = []
        for gradients in zip(*(part.values for part in parts), strict=True):
            present = [gradient for gradient in gradients if gradient is not None]
            sums.append(sum(present[1:], present[0]) if present else None)
        for parameter, total in zip(self.parameters, self._processes.summed(sums), strict=True):
            parameter.grad = None if total is None else total / self._micro_batches
        limit = math.inf if self._clip_norm is None else self._clip_norm
        return float(torch.nn.utils.clip_grad_norm_(self.parameters, limit))

    @torch.no_grad()
    def update(self, learning_rate: float, step: int) -> None:
        """Change the weights by the gradients that were taken in."""
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        if self._muon:
            self._muon.update(learning_rate)
        if self._average:
            self._average.update(step)

    def finish(self) -> None:
        """Leave the average as the weights, where one was kept."""
        if self._average:
            self._average.put_in_place()

    def state(self) -> dict[str, Any]:
        """What `load` needs to go on."""
        averages = self._average.values if self._average else []
        return {
            "optimizer": self._optimizer.state_dict(),
            "muon": self._muon.momenta if self._muon else [],
            "averages": averages,
        }

    def load(self, state: dict[str, Any]) -> None:
        self._optimizer.load_state_dict(state["optimizer"])
        if self._muon:
            for momentum, saved in zip(self._muon.momenta, state["muon"], strict=True):
                momentum.copy_(saved)
        if self._average:
            device = self.parameters[0].device
            self._average.values = [value.to(device) for value in state["averages"]]


def trained_parameters(supernet: Supernet) -> list[nn.Parameter]:
    """All but a folded net's shared BN scale and shift, which no output depends on any more."""
    folded = supernet.is_folded
    return [
        parameter
        for name, parameter in supernet.named_parameters()
        if not (folded and name.endswith((".gamma", ".beta")))
    ]
