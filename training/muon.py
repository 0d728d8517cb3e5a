"""Muon for the matrices of a supernet: their updates are made nearly orthogonal.

Matrices are the weights of the pointwise convolutions that lead into and out of blocks, which is
where nearly all of a MobileNet's arithmetic is. Muon is Jordan's (2024, "Muon: an optimizer for
hidden layers in neural networks", https://kellerjordan.github.io/posts/muon/).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from supernet.design_space import DesignSpace
from supernet.model import Supernet
from training.recipe import Muon

_MOMENTUM = 0.95
_COEFFICIENTS = (3.4445, -4.775, 2.0315)
_TINY = 1e-7


def matrices(supernet: Supernet) -> list[nn.Parameter]:
    """What Muon trains: weights [out, in, …] of the layers that mix a unit's channels."""
    return supernet.family.matrices(supernet)


def update_macs(space: DesignSpace, muon: Muon | None) -> int:
    """MACs of one update of all matrices of a net on `space`, which each process does once a step;
    none without Muon.

    An iteration on a matrix of m rows and n columns, m <= n, is its square (m m n), that one's
    square (m m m), and their product with the matrix (m m n).
    """
    if muon is None:
        return 0
    with torch.device("meta"):
        shapes = [matrix.shape[:2] for matrix in matrices(Supernet(space))]
    ordered = (sorted(shape) for shape in shapes)
    return muon.iterations * sum(2 * m * m * n + m**3 for m, n in ordered)


class MuonUpdater:
    """Muon over `parameters`, as `torch.optim.Muon` but in float32 and with all matrices of one
    shape at a time: there are many small ones, and one by one they took 2.4 times as long."""

    def __init__(self, parameters: Sequence[nn.Parameter], muon: Muon) -> None:
        self._muon = muon
        self._groups: dict[tuple[int, ...], list[nn.Parameter]] = {}
        for parameter in parameters:
            shape = tuple(sorted(parameter.shape[:2]))
            self._groups.setdefault(shape, []).append(parameter)
        self.momenta = [
            torch.zeros(len(group), *shape, device=group[0].device)
            for shape, group in self._groups.items()
        ]

    @torch.no_grad()
    def update(self, learning_rate: float) -> None:
        """Change the weights by their gradients; `learning_rate` is the step's."""
        rate = self._muon.learning_rate * learning_rate
        for group, momentum in zip(self._groups.values(), self.momenta, strict=True):
            gradients = torch.stack([_wide(_gradient(parameter)) for parameter in group])
            momentum.lerp_(gradients, 1 - _MOMENTUM)
            ahead = gradients.lerp(momentum, _MOMENTUM)  # Nesterov's
            changes = orthogonal(ahead, self._muon.iterations)
            for parameter, change in zip(group, changes, strict=True):
                rows, columns = parameter.shape[:2]
                parameter.mul_(1 - rate * self._muon.weight_decay)
                step = (change if rows <= columns else change.T).reshape(parameter.shape)
                parameter.sub_(step, alpha=rate * max(1.0, rows / columns) ** 0.5)


def orthogonal(x: Tensor, iterations: int) -> Tensor:
    """Matrices [N, m, n], m <= n, with their singular values pushed towards 1, by Newton's and
    Schulz's iteration with Jordan's coefficients: after five most are between 0.7 and 1.2."""
    a, b, c = _COEFFICIENTS
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=_TINY)
    for _ in range(iterations):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _wide(weight: Tensor) -> Tensor:
    """A weight [out, in, 1, 1] as a matrix with no more rows than columns."""
    matrix = weight.flatten(1)
    return matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
