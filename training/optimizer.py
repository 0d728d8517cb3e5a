"""What is trained, and the optimizer that trains it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from supernet.model import Supernet
from supernet.normalization import PieceAffine
from training.recipe import Recipe


def trained_parameters(supernet: Supernet) -> list[nn.Parameter]:
    """All but a folded net's shared BN scale and shift, which no output depends on any more."""
    folded = isinstance(supernet.normalization, PieceAffine)
    return [
        parameter
        for name, parameter in supernet.named_parameters()
        if not (folded and name.endswith((".gamma", ".beta")))
    ]


def new_optimizer(recipe: Recipe, parameters: Sequence[nn.Parameter]) -> torch.optim.SGD:
    """SGD with Nesterov momentum; weight decay on convolutions and the classifier only."""
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=0.0, momentum=recipe.momentum, nesterov=True)
