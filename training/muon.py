"""Muon for the matrices of a supernet: their updates are made nearly orthogonal.

Matrices are the weights of the pointwise convolutions that lead into and out of blocks, which is
where nearly all of a MobileNet's arithmetic is. Muon is Jordan's (2024, "Muon: an optimizer for
hidden layers in neural networks", https://kellerjordan.github.io/posts/muon/), as torch has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

import torch
from torch import Tensor, nn

from supernet.design_space import DesignSpace
from supernet.model import Supernet
from training.recipe import Muon

_ENDINGS = (".expand.weight", ".project.weight", "final_expand.weight")
_GATE = ".se."


def matrices(supernet: Supernet) -> list[nn.Parameter]:
    """What Muon trains: weights [out, in, 1, 1] of expanding and projecting layers.

    Gates and the classifier's layers are left to SGD: their matrices take longer to make
    orthogonal than a step would gain.
    """
    return [
        parameter
        for name, parameter in supernet.named_parameters()
        if name.endswith(_ENDINGS) and _GATE not in name
    ]


def update_macs(space: DesignSpace, muon: Muon) -> int:
    """MACs of one update of all matrices of a net on `space`, which each process does once a step.

    An iteration on a matrix of m rows and n columns, m <= n, is its square (m m n), that one's
    square (m m m), and their product with the matrix (m m n).
    """
    first, head = space.skeleton.first_block, space.skeleton.head_channels
    sides = [
        (first.mid_channels, first.out_channels),
        (space.skeleton.units[-1].out_channels, head),
    ]
    for unit in range(len(space.skeleton.units)):
        for block in space.blocks(space.full_unit(unit)):
            sides += [(block.in_channels, block.mid_channels)]
            sides += [(block.mid_channels, block.out_channels)]
    ordered = (sorted(pair) for pair in sides)
    return muon.iterations * sum(2 * m * m * n + m**3 for m, n in ordered)


class MuonUpdater:
    """Muon over `parameters`, a matrix a task for `pool`."""

    def __init__(self, parameters: Sequence[nn.Parameter], muon: Muon, pool: Executor) -> None:
        self._parameters, self._pool, self._share = parameters, pool, muon.learning_rate
        self._matrices = [_Matrix(parameter, muon) for parameter in parameters]

    def update(self, learning_rate: float) -> None:
        """Change the weights by their gradients; `learning_rate` is the step's."""
        rate = self._share * learning_rate
        for _ in self._pool.map(lambda matrix: matrix.update(rate), self._matrices):
            pass

    def state(self) -> list[Any]:
        """What `load` needs to go on."""
        return [matrix.optimizer.state_dict() for matrix in self._matrices]

    def load(self, state: list[Any]) -> None:
        for matrix, saved in zip(self._matrices, state, strict=True):
            matrix.optimizer.load_state_dict(saved)


class _Matrix:
    """A weight [out, in, 1, 1] as the matrix that torch's Muon takes, in the same memory."""

    def __init__(self, parameter: nn.Parameter, muon: Muon) -> None:
        self._parameter = parameter
        self._matrix: Tensor = parameter.detach().view(parameter.shape[:2])
        self.optimizer = torch.optim.Muon(
            [self._matrix], lr=0.0, weight_decay=muon.weight_decay, ns_steps=muon.iterations
        )

    def update(self, learning_rate: float) -> None:
        gradient = self._parameter.grad
        if gradient is None:
            return
        self._matrix.grad = gradient.reshape(self._matrix.shape)
        self.optimizer.param_groups[0]["lr"] = learning_rate
        self.optimizer.step()  # type: ignore[no-untyped-call]
