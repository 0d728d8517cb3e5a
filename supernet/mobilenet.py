"""The skeleton of MobileNets, and how it turns a unit variant into block shapes.

With the defaults it is Once-for-All's MobileNetV3 (Cai et al., ICLR 2020); with `last_block` and
without `feature_channels` it is ProxylessNAS as their code has it. It knows nothing of which
variants a design space allows, nor of weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from supernet.skeleton import (
    Complexity,
    Frozen,
    Inputs,
    Path,
    Positive,
    Skeleton,
    UnitVariant,
    unit_of,
)

Activation = Literal["relu", "relu6", "h_swish"]
Kernel = Literal[3, 5, 7]
Stride = Literal[1, 2]


def make_divisible(channels: float, divisor: int = 8) -> int:
    """Round to a multiple of `divisor`, never below 90 % of `channels` (MobileNet's rule)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def strided(size: int, stride: int) -> int:
    """Height and width of what a convolution (padded by half its kernel) leaves of `size`."""
    return (size - 1) // stride + 1


@dataclass(frozen=True, slots=True)
class BlockShape:
    """One MBConv with every size resolved. Sizes in channels, `kernel` and `stride` in pixels."""

    in_channels: int
    mid_channels: int
    out_channels: int
    kernel: int
    stride: int
    activation: Activation
    se: bool

    @property
    def has_shortcut(self) -> bool:
        return self.stride == 1 and self.in_channels == self.out_channels

    @property
    def se_channels(self) -> int:
        """Hidden width of squeeze-and-excitation: a quarter, in eights."""
        return make_divisible(self.mid_channels // 4)


class UnitSpec(Frozen):
    """The fixed part of a unit; `kernel` is the size its weights are stored at."""

    out_channels: Positive
    stride: Stride
    activation: Activation
    se: bool
    kernel: Kernel


class LastBlock(Frozen):
    """A block after the units that is the same in all subnets."""

    out_channels: Positive
    expand_ratio: Positive
    kernel: Kernel
    activation: Activation


class MobileNetSkeleton(Frozen):
    """What all subnets share: channels and strides outside the choices.

    The head is a convolution to `head_channels`, pooling, and the classifier; where there are
    `feature_channels`, a convolution to those comes before the classifier.
    """

    in_channels: Positive
    stem_channels: Positive
    stem_stride: Stride
    first_block_channels: Positive
    units: tuple[UnitSpec, ...] = Field(min_length=1)
    head_channels: Positive
    feature_channels: Positive | None = None
    classes: Annotated[int, Field(ge=2)]
    stem_activation: Activation = "h_swish"
    first_block_activation: Activation = "relu"
    head_activation: Activation = "h_swish"
    last_block: LastBlock | None = None

    @property
    def unit_count(self) -> int:
        return len(self.units)

    @property
    def inputs(self) -> Inputs:
        return Inputs("image", channels=self.in_channels)

    @property
    def first_block(self) -> BlockShape:
        """The static block after the first convolution: expand ratio 1, 3x3."""
        stem, activation = self.stem_channels, self.first_block_activation
        return BlockShape(stem, stem, self.first_block_channels, 3, 1, activation, False)

    @property
    def final_block(self) -> BlockShape | None:
        """The static block before the head's convolution, where there is one."""
        last = self.last_block
        if last is None:
            return None
        channels = self.units[-1].out_channels
        mid = make_divisible(round(channels * last.expand_ratio))
        return BlockShape(
            channels, mid, last.out_channels, last.kernel, 1, last.activation, se=False
        )

    @property
    def head_in_channels(self) -> int:
        """What the head's convolution takes."""
        return self.last_block.out_channels if self.last_block else self.units[-1].out_channels

    @property
    def classifier_channels(self) -> int:
        return self.feature_channels or self.head_channels

    def stored_kernel(self, unit: int) -> int:
        return self.units[unit].kernel

    def unit_in_channels(self, unit: int) -> int:
        return self.units[unit - 1].out_channels if unit else self.first_block_channels

    def blocks(self, variant: UnitVariant) -> tuple[BlockShape, ...]:
        """The shape of each active block of a unit variant."""
        spec = self.units[variant.unit]
        shapes, in_channels = [], self.unit_in_channels(variant.unit)
        for i, (kernel, ratio) in enumerate(
            zip(variant.kernels, variant.expand_ratios, strict=True)
        ):
            shapes.append(
                BlockShape(
                    in_channels=in_channels,
                    mid_channels=make_divisible(round(in_channels * ratio)),
                    out_channels=spec.out_channels,
                    kernel=kernel,
                    stride=1 if i else spec.stride,
                    activation=spec.activation,
                    se=spec.se,
                )
            )
            in_channels = spec.out_channels
        return tuple(shapes)

    def piece_input(self, piece: str) -> tuple[int, ...]:
        if piece == "stem":
            return (-1, self.in_channels, -1, -1)
        unit = unit_of(piece)
        channels = self.units[-1].out_channels if unit is None else self.unit_in_channels(unit)
        return (-1, channels, -1, -1)

    @property
    def normalised_ends(self) -> tuple[Mapping[str, int], Mapping[str, int]]:
        stem = {"first_conv": self.stem_channels}
        stem |= _layers("first_block", self.first_block, expands=False)
        head = _layers("last_block", self.final_block) if self.final_block else {}
        return stem, head | {"final_expand": self.head_channels}

    def normalised(self, variant: UnitVariant) -> Mapping[str, int]:
        channels: dict[str, int] = {}
        for i, shape in enumerate(self.blocks(variant)):
            channels |= _layers(f"block{i}", shape)
        return channels

    def pieces(self, resolution: int, path: Path) -> Iterator[Complexity]:
        size = strided(resolution, self.stem_stride)
        stem = _conv(self.in_channels, self.stem_channels, 3, size)
        yield stem + _block(self.first_block, size, expands=False)
        for variant in path:
            unit = Complexity(0, 0)
            for shape in self.blocks(variant):
                unit += _block(shape, size)
                size = strided(size, shape.stride)
            yield unit
        yield self._head(size)

    def _head(self, size: int) -> Complexity:
        head = _conv(self.head_in_channels, self.head_channels, 1, size)
        if self.final_block:
            head += _block(self.final_block, size)
        mix = self.head_channels * (self.feature_channels or 0)
        classifier = self.classifier_channels * self.classes
        return head + Complexity(mix + classifier, mix + classifier + self.classes)


def mobilenet(skeleton: Skeleton) -> MobileNetSkeleton:
    """The skeleton, for what knows only MobileNets. Raises `ValueError` for another family's."""
    if isinstance(skeleton, MobileNetSkeleton):
        return skeleton
    raise ValueError(f"the net takes {skeleton.inputs.kind}: expected a MobileNet, for images")


def _layers(name: str, shape: BlockShape, *, expands: bool = True) -> dict[str, int]:
    channels = {"depthwise": shape.mid_channels, "project": shape.out_channels}
    if expands:
        channels["expand"] = shape.mid_channels
    return {f"{name}/{layer}": n for layer, n in channels.items()}


def _conv(in_channels: int, out_channels: int, kernel: int, size: int) -> Complexity:
    weights = in_channels * out_channels * kernel * kernel
    return Complexity(weights * size * size, weights + 2 * out_channels)


def _block(shape: BlockShape, size: int, *, expands: bool = True) -> Complexity:
    mid, out_size = shape.mid_channels, strided(size, shape.stride)
    cost = _conv(1, mid, shape.kernel, out_size) + _conv(mid, shape.out_channels, 1, out_size)
    if expands:
        cost += _conv(shape.in_channels, mid, 1, size)
    if shape.se:
        weights = 2 * mid * shape.se_channels
        cost += Complexity(weights, weights + mid + shape.se_channels)
    return cost
