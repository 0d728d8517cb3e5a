"""Ways to normalise a convolution's output, chosen when a supernet is built, never switched.

Every convolution that has a normalisation asks a `PieceNorm` to run it. Which numbers
that uses is the only difference between a net in training (`BatchNormalization`), a net
with statistics per subnet (`SubnetStatistics`), one with the running statistics of its
largest layers (`SharedStatistics`) and a folded net (`PieceAffine`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.manifest import NormalizationKind

EPS = 1e-5


@dataclass(frozen=True, slots=True)
class Convolution:
    """One convolution as sliced for an architecture: weight [out, in/groups, k, k], BN scale
    and shift [out] as shared by all subnets, and how it moves."""

    weight: Tensor
    gamma: Tensor
    beta: Tensor
    stride: int
    groups: int

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        padding = weight.shape[-1] // 2
        return F.conv2d(x, weight, bias, self.stride, padding, 1, self.groups)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a piece stands: its own name, and the path of names from the input through it.

    The path begins with the resolution. A folded net looks its numbers up by `piece`,
    a net with statistics per subnet by `path`, one with shared statistics by `stored`.
    """

    piece: str
    path: tuple[str, ...]

    @classmethod
    def start(cls, resolution: int) -> Position:
        return cls("stem", (str(resolution), "stem"))

    def then(self, piece: str) -> Position:
        return Position(piece, (*self.path, piece))

    @property
    def key(self) -> str:
        return ">".join(self.path)

    @property
    def stored(self) -> str:
        """Where the piece's weights are kept, whichever form it takes: stem, unit0, …, head."""
        return self.piece.partition("/")[0]


class PieceNorm(Protocol):
    """Runs one named convolution of a piece and normalises what comes out."""

    def __call__(self, layer: str, conv: Convolution, x: Tensor, /) -> Tensor: ...


class Normalization(nn.Module, ABC):
    """Gives each piece of a path its `PieceNorm`. Stateless between calls."""

    @abstractmethod
    def at(self, position: Position, /) -> PieceNorm:
        """What runs the convolutions of the piece at `position`."""


class BatchNormalization(Normalization):
    """Statistics of the batch at hand, as in training; keeps none."""

    def at(self, _position: Position) -> PieceNorm:
        return batch_norm


def batch_norm(_layer: str, conv: Convolution, x: Tensor, /) -> Tensor:
    """Normalise by the batch's own mean and variance."""
    y = conv(x, conv.weight)
    return F.batch_norm(y, None, None, conv.gamma, conv.beta, training=True, eps=EPS)


@dataclass(frozen=True, slots=True)
class FrozenNorm:
    """A `PieceNorm` whose numbers are fixed, so that it can be folded into the weights.

    `affine` gives scale and shift [out] for a layer.
    """

    affine: Callable[[str, Convolution], tuple[Tensor, Tensor]]

    def folded(self, layer: str, conv: Convolution) -> tuple[Tensor, Tensor]:
        """Weight [out, in/groups, k, k] and bias [out] of the convolution alone."""
        scale, shift = self.affine(layer, conv)
        return conv.weight * scale.view(-1, 1, 1, 1), shift

    def __call__(self, layer: str, conv: Convolution, x: Tensor) -> Tensor:
        return conv(x, *self.folded(layer, conv))


class FrozenNormalization(Normalization):
    """A normalisation with fixed numbers: what an artifact can hold."""

    kind: ClassVar[NormalizationKind]

    @abstractmethod
    def at(self, position: Position, /) -> FrozenNorm:
        """As for every normalisation, with numbers that can be folded."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Everything to save, by name."""

    @abstractmethod
    def load(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `tensors`."""


class PieceAffine(FrozenNormalization):
    """One affine a piece and layer, the same wherever the piece stands: a folded net.

    Holds `scale` and `shift` [out] under `piece|layer|scale`; the fold phase trains them.
    """

    kind = "piece-affine"

    def __init__(self) -> None:
        super().__init__()
        self.values = nn.ParameterDict()

    def add(self, piece: str, layer: str, scale: Tensor, shift: Tensor) -> None:
        self.values[f"{piece}|{layer}|scale"] = nn.Parameter(scale.detach().clone())
        self.values[f"{piece}|{layer}|shift"] = nn.Parameter(shift.detach().clone())

    def at(self, position: Position) -> FrozenNorm:
        piece = position.piece

        def affine(layer: str, _conv: Convolution) -> tuple[Tensor, Tensor]:
            return self.values[f"{piece}|{layer}|scale"], self.values[f"{piece}|{layer}|shift"]

        return FrozenNorm(affine)

    def tensors(self) -> dict[str, Tensor]:
        return {name: value.detach() for name, value in self.values.items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        self.values = nn.ParameterDict()
        for name, value in tensors.items():  # one by one keeps the order, which optimizers need
            self.values[name] = nn.Parameter(value)

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> PieceAffine:
        """The affines in the state-dict of a folded `Supernet`."""
        prefix = "normalization.values."
        norm = cls()
        norm.load({k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)})
        return norm


class _Statistics(FrozenNormalization):
    """Means and variances that were measured and are not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, Tensor] = {}

    def tensors(self) -> dict[str, Tensor]:
        return dict(self.values)

    def load(self, tensors: dict[str, Tensor]) -> None:
        self.values = dict(tensors)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """What torch calls to move a module to a device or type: statistics move along."""
        self.values = {name: fn(value) for name, value in self.values.items()}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


class SubnetStatistics(_Statistics):
    """Mean and variance per subnet, as a trie: subnets that share a prefix share statistics.

    Holds `mean` and `var` [out] under `path|layer|mean`, the path joined by `>`.
    """

    kind = "subnet-statistics"

    def add(self, position: Position, layer: str, mean: Tensor, var: Tensor) -> None:
        key = f"{position.key}|{layer}|"
        self.values[key + "mean"] = mean.detach().clone()
        self.values[key + "var"] = var.detach().clone()

    def at(self, position: Position) -> FrozenNorm:
        path = position.key

        def affine(layer: str, conv: Convolution) -> tuple[Tensor, Tensor]:
            key = f"{path}|{layer}|"
            if key + "mean" not in self.values:
                raise UncalibratedError(f"no statistics for {path!r}: calibrate this subnet first")
            return _affine(conv, self.values[key + "mean"], self.values[key + "var"])

        return FrozenNorm(affine)


class SharedStatistics(_Statistics):
    """The running mean and variance of each stored layer; a narrower one takes the first.

    What public checkpoints hold, and what their own code evaluates a subnet with before it
    is calibrated: poor for all but the largest. Holds `mean` and `var` [stored out] under
    `unit|layer|mean`.
    """

    kind = "shared-statistics"

    def at(self, position: Position) -> FrozenNorm:
        stored = position.stored

        def affine(layer: str, conv: Convolution) -> tuple[Tensor, Tensor]:
            key, channels = f"{stored}|{layer}|", len(conv.gamma)
            mean, var = (self.values[key + end][:channels] for end in ("mean", "var"))
            return _affine(conv, mean, var)

        return FrozenNorm(affine)


def _affine(conv: Convolution, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and shift [out] that batch norm with fixed statistics comes to."""
    scale = conv.gamma * torch.rsqrt(var + EPS)
    return scale, conv.beta - mean * scale


class UncalibratedError(ValueError):
    """A subnet whose batch-norm statistics were never measured."""


FROZEN: dict[NormalizationKind, type[FrozenNormalization]] = {
    cls.kind: cls for cls in (PieceAffine, SubnetStatistics, SharedStatistics)
}
