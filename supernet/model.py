"""The supernet: shared weights and a stateless forward through any of its subnets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from supernet.architecture import Architecture
from supernet.design_space import DesignSpace
from supernet.layers import ElasticBlock, ElasticConv, activate
from supernet.normalization import BatchNormalization, Normalization, PieceNorm, Position
from supernet.skeleton import Path, UnitVariant


class Supernet(nn.Module):
    """A MobileNetV3 supernet (Cai et al., ICLR 2020): one set of weights, many subnets.

    The architecture is an argument, so threads may run different subnets at once.
    `normalization` is part of the net: batch statistics in training, and afterwards
    statistics per subnet or one affine a piece.
    """

    def __init__(self, space: DesignSpace, normalization: Normalization | None = None) -> None:
        super().__init__()
        skeleton = space.skeleton
        self.space = space
        self.normalization = normalization or BatchNormalization()
        self.first_conv = ElasticConv(
            skeleton.in_channels, skeleton.stem_channels, 3, skeleton.stem_stride
        )
        self.first_block = ElasticBlock(skeleton.first_block, expands=False)
        self.units = nn.ModuleList(
            nn.ModuleList(
                ElasticBlock(shape, kernel_transform=space.kernel_transform)
                for shape in space.blocks(space.full_unit(unit))
            )
            for unit in range(len(skeleton.units))
        )
        self.final_expand = ElasticConv(skeleton.units[-1].out_channels, skeleton.head_channels, 1)
        self.feature_mix = nn.Conv2d(
            skeleton.head_channels, skeleton.feature_channels, 1, bias=False
        )
        self.classifier = nn.Linear(skeleton.feature_channels, skeleton.classes)
        nn.init.kaiming_normal_(self.feature_mix.weight, mode="fan_out")
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor, arch: Architecture) -> Tensor:
        """Logits [B, classes] of images [B, channels, H, W] (normalised) through `arch`.

        The images come at the architecture's resolution; nothing is resized here. Raises
        `ValueError` where they do not, or where `arch` is not of the design space.
        """
        self.space.check(arch)
        expected = (self.space.skeleton.in_channels, arch.resolution, arch.resolution)
        if x.ndim != 4 or tuple(x.shape[1:]) != expected:
            takes = ", ".join(map(str, ("B", *expected)))
            raise ValueError(f"images of shape {list(x.shape)}: {arch.id} takes [{takes}]")
        return self.run_path(x, arch.resolution, self.space.variants(arch))

    def run_path(self, x: Tensor, resolution: int, variants: Iterable[UnitVariant]) -> Tensor:
        """`forward` with the unit variants already resolved."""
        position = Position.start(resolution)
        x = self.run_stem(x, self.normalization.at(position))
        for variant in variants:
            position = position.then(variant.name)
            x = self.run_unit(x, variant, self.normalization.at(position))
        return self.run_head(x, self.normalization.at(position.then("head")))

    def run_paths(
        self, x: Tensor, resolution: int, paths: Iterable[Path]
    ) -> Iterator[tuple[Path, Tensor]]:
        """Logits [B, classes] of each path, computing what paths share only once.

        All 243 paths of a compound space take 363 unit evaluations instead of 1,215.
        """
        position = Position.start(resolution)
        x = self.run_stem(x, self.normalization.at(position))
        yield from self._branches(x, position, (), list(paths))

    def _branches(
        self, x: Tensor, position: Position, done: Path, paths: list[Path]
    ) -> Iterator[tuple[Path, Tensor]]:
        unit = len(done)
        if unit == len(self.units):
            yield done, self.run_head(x, self.normalization.at(position.then("head")))
            return
        for variant in dict.fromkeys(path[unit] for path in paths):
            here = position.then(variant.name)
            y = self.run_unit(x, variant, self.normalization.at(here))
            below = [path for path in paths if path[unit] == variant]
            yield from self._branches(y, here, (*done, variant), below)

    def run_stem(self, x: Tensor, norm: PieceNorm) -> Tensor:
        """First convolution and the static block: [B, in, H, W] → [B, C, H', W']."""
        s = self.space.skeleton
        conv = self.first_conv.sliced(s.in_channels, s.stem_channels, 3)
        x = activate(norm("first_conv", conv, x), "h_swish")
        stem: Tensor = self.first_block(x, s.first_block, norm, "first_block")
        return stem

    def run_unit(self, x: Tensor, variant: UnitVariant, norm: PieceNorm) -> Tensor:
        """The active blocks of one unit."""
        stored = self.unit_blocks(variant.unit)
        for i, shape in enumerate(self.space.blocks(variant)):
            x = stored[i](x, shape, norm, f"block{i}")
        return x

    def unit_blocks(self, unit: int) -> list[ElasticBlock]:
        """The stored blocks of a unit, at their largest."""
        return list(self.units[unit])  # type: ignore[call-overload, no-any-return]

    def run_head(self, x: Tensor, norm: PieceNorm) -> Tensor:
        """Final expansion, pooling, feature mix and classifier: logits [B, classes]."""
        s = self.space.skeleton
        conv = self.final_expand.sliced(s.units[-1].out_channels, s.head_channels, 1)
        x = activate(norm("final_expand", conv, x), "h_swish").mean((2, 3), keepdim=True)
        x = activate(self.feature_mix(x), "h_swish")
        return self.classifier(torch.flatten(x, 1))  # type: ignore[no-any-return]
