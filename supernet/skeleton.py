"""The fixed part of a design space, and how it turns a unit variant into block shapes.

The skeleton is Once-for-All's MobileNetV3 (Cai et al., ICLR 2020). It knows nothing of
which variants a design space allows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
Activation = Literal["relu", "h_swish"]
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


@dataclass(frozen=True, slots=True)
class UnitVariant:
    """One form of one unit: kernel and expand ratio of each active block."""

    unit: int
    kernels: tuple[int, ...]
    expand_ratios: tuple[int, ...]

    @property
    def depth(self) -> int:
        return len(self.kernels)

    @property
    def name(self) -> str:
        """The piece's name, for instance `unit2/k5-5/e3-3`."""
        kernels, ratios = ("-".join(map(str, n)) for n in (self.kernels, self.expand_ratios))
        return f"unit{self.unit}/k{kernels}/e{ratios}"


Path = tuple[UnitVariant, ...]
"""The form of every unit in order, or of the first few."""


class Frozen(BaseModel):
    """A value that is checked when it is made and never changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class UnitSpec(Frozen):
    """The fixed part of a unit; `kernel` is the size its weights are stored at."""

    out_channels: Positive
    stride: Stride
    activation: Activation
    se: bool
    kernel: Kernel


class Skeleton(Frozen):
    """What all subnets share: channels and strides outside the choices."""

    in_channels: Positive
    stem_channels: Positive
    stem_stride: Stride
    first_block_channels: Positive
    units: tuple[UnitSpec, ...] = Field(min_length=1)
    head_channels: Positive
    feature_channels: Positive
    classes: Annotated[int, Field(ge=2)]

    @property
    def first_block(self) -> BlockShape:
        """The static block after the first convolution: expand ratio 1, 3x3, ReLU."""
        stem = self.stem_channels
        return BlockShape(stem, stem, self.first_block_channels, 3, 1, "relu", False)

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
