"""The layers of each family of supernets: built, run, cut out and copied by its own module.

`Supernet`, `extract` and `narrow` know units and positions; what a layer is, only a family knows.
A new family is a skeleton without torch, a module like those listed here, and a preset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from torch import Tensor, nn

from supernet.mobilenet import MobileNetSkeleton
from supernet.skeleton import Skeleton, UnitVariant
from supernet.transformer import TransformerSkeleton

if TYPE_CHECKING:
    from supernet.design_space import DesignSpace
    from supernet.model import Supernet
    from supernet.normalization import FrozenNorm, PieceNorm


class Family(Protocol):
    """What a family does with the layers that it has put into a supernet. Keeps no state."""

    def build(self, supernet: Supernet, space: DesignSpace) -> None:
        """Put the stored layers in place, initialised: stem, `units`, head with `classifier`."""
        ...

    def run_stem(self, supernet: Supernet, x: Tensor, norm: PieceNorm) -> Tensor: ...

    def run_unit(
        self, supernet: Supernet, x: Tensor, variant: UnitVariant, norm: PieceNorm
    ) -> Tensor: ...

    def run_head(self, supernet: Supernet, x: Tensor, norm: PieceNorm) -> Tensor:
        """Logits [B, classes]."""
        ...

    def plain_stem(self, supernet: Supernet, norm: FrozenNorm) -> nn.Module:
        """A module of its own, weights copied, normalisation folded."""
        ...

    def plain_unit(
        self, supernet: Supernet, variant: UnitVariant, norm: FrozenNorm
    ) -> nn.Module: ...

    def plain_head(self, supernet: Supernet, norm: FrozenNorm) -> nn.Module: ...

    def sort_channels(self, supernet: Supernet) -> None:
        """Put what counts most first, so that slicing keeps it; the largest subnet computes the
        same function before and after."""
        ...

    def copy(self, target: Supernet, source: Supernet) -> None:
        """Copy into `target`, which may store less of everything, what it stores."""
        ...

    def matrices(self, supernet: Supernet) -> list[nn.Parameter]:
        """The weights [out, in, …] of layers that mix channels within units: what Muon trains."""
        ...


def family_of(skeleton: Skeleton) -> Family:
    """The family of a skeleton."""
    if isinstance(skeleton, TransformerSkeleton):
        from supernet.transformer_family import TransformerFamily

        return TransformerFamily(skeleton)
    from supernet.mobilenet_family import MobileNetFamily

    assert isinstance(skeleton, MobileNetSkeleton), type(skeleton)
    return MobileNetFamily(skeleton)
