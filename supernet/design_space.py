"""Which architectures there are: a skeleton with fixed parts, and the choices on it.

A `DesignSpace` answers what belongs to it, lists or samples it, and resolves an
architecture into unit variants and block shapes. It holds no weights.

The compound coupling of depth and expand ratio is CompOFA's (Sahni et al., ICLR 2021,
section 3); the skeleton is Once-for-All's MobileNetV3 (Cai et al., ICLR 2020).
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from supernet.architecture import Architecture

Positive = Annotated[int, Field(ge=1)]
Activation = Literal["relu", "h_swish"]
Kernel = Literal[3, 5, 7]
Stride = Literal[1, 2]


def make_divisible(channels: float, divisor: int = 8) -> int:
    """Round to a multiple of `divisor`, never below 90 % of `channels` (MobileNet's rule)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


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


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class UnitSpec(_Frozen):
    """The fixed part of a unit; `kernel` is the size its weights are stored at."""

    out_channels: Positive
    stride: Stride
    activation: Activation
    se: bool
    kernel: Kernel


class Skeleton(_Frozen):
    """What all subnets share: channels and strides outside the choices."""

    in_channels: Positive
    stem_channels: Positive
    stem_stride: Stride
    first_block_channels: Positive
    units: tuple[UnitSpec, ...] = Field(min_length=1)
    head_channels: Positive
    feature_channels: Positive
    classes: Annotated[int, Field(ge=2)]

    def unit_in_channels(self, unit: int) -> int:
        return self.units[unit - 1].out_channels if unit else self.first_block_channels


class DesignSpace(_Frozen):
    """A skeleton and the choices on it.

    `expand_ratios` belongs to `depths` entry by entry where `compound` is true (one ratio
    a depth, the same in every block of the unit), and is a free choice a block otherwise.
    `kernels` lists the sizes allowed in each unit; one size means it is fixed.
    """

    name: str
    skeleton: Skeleton
    depths: tuple[Positive, ...] = Field(min_length=1)
    expand_ratios: tuple[Positive, ...] = Field(min_length=1)
    compound: bool
    kernels: tuple[tuple[Kernel, ...], ...]
    resolutions: tuple[Positive, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for field in ("depths", "expand_ratios", "resolutions"):
            values = getattr(self, field)
            if list(values) != sorted(set(values)):
                raise ValueError(f"{field} {values}: expected increasing values")
        if self.compound and len(self.depths) != len(self.expand_ratios):
            raise ValueError("expand_ratios: a compound space needs one for each depth")
        if len(self.kernels) != len(self.skeleton.units):
            raise ValueError("kernels: expected one entry a unit")
        for sizes, unit in zip(self.kernels, self.skeleton.units, strict=True):
            if not sizes or max(sizes) > unit.kernel:
                raise ValueError(f"kernels {sizes}: the unit stores {unit.kernel}x{unit.kernel}")
        return self

    @property
    def elastic_kernels(self) -> bool:
        return any(len(sizes) > 1 for sizes in self.kernels)

    @property
    def largest(self) -> Architecture:
        return self._uniform(-1)

    @property
    def smallest(self) -> Architecture:
        return self._uniform(0)

    def size(self) -> int:
        """How many architectures there are, resolutions included."""
        return math.prod(self._unit_forms(u) for u in range(len(self.kernels))) * len(
            self.resolutions
        )

    def enumerate(self) -> Iterator[Architecture]:
        """Every architecture of a compound space with fixed kernels, smallest first.

        Raises `ValueError` for a space too large to list (elastic kernels or ratios).
        """
        if not self.compound or self.elastic_kernels:
            raise ValueError(
                f"design space {self.name!r} has {self.size():.3g} architectures: sample it instead"
            )
        units = len(self.skeleton.units)
        for resolution in self.resolutions:
            for depths in itertools.product(self.depths, repeat=units):
                yield Architecture(depths=depths, resolution=resolution)

    def sample(
        self, rng: random.Random, *, depths: tuple[int, ...] | None = None, resolution: int = 0
    ) -> Architecture:
        """A random architecture, each choice uniform; `depths` and `resolution` narrow it."""
        chosen = tuple(rng.choice(depths or self.depths) for _ in self.skeleton.units)
        pairs = [(u, d) for u, d in enumerate(chosen)]
        kernels = [rng.choice(self.kernels[u]) for u, d in pairs for _ in range(d)]
        ratios = [rng.choice(self.expand_ratios) for d in chosen for _ in range(d)]
        return Architecture(
            depths=chosen,
            resolution=resolution or rng.choice(self.resolutions),
            kernels=tuple(kernels) if self.elastic_kernels else (),
            expand_ratios=() if self.compound else tuple(ratios),
        )

    def contains(self, arch: Architecture) -> bool:
        try:
            self.check(arch)
        except ValueError:
            return False
        return True

    def check(self, arch: Architecture) -> None:
        """Raise `ValueError`, naming the part that does not belong to this space."""
        if len(arch.depths) != len(self.skeleton.units) or not set(arch.depths) <= set(self.depths):
            raise ValueError(
                f"subnet {arch.id}: expected {len(self.skeleton.units)} depths from {self.depths}"
            )
        if arch.resolution not in self.resolutions:
            raise ValueError(
                f"subnet {arch.id}: expected a resolution from {list(self.resolutions)}"
            )
        blocks = sum(arch.depths)
        self._check_choice(arch, "kernels", blocks if self.elastic_kernels else 0)
        self._check_choice(arch, "expand_ratios", 0 if self.compound else blocks)
        for variant in self.variants(arch):
            allowed = set(self.kernels[variant.unit])
            if not set(variant.kernels) <= allowed:
                raise ValueError(
                    f"subnet {arch.id}: expected kernels of unit {variant.unit} from {allowed}"
                )
        if not set(arch.expand_ratios) <= set(self.expand_ratios):
            raise ValueError(f"subnet {arch.id}: expected expand ratios from {self.expand_ratios}")

    def variants(self, arch: Architecture) -> tuple[UnitVariant, ...]:
        """The form each unit takes in `arch`, in order."""
        ratio_of = dict(zip(self.depths, self.expand_ratios, strict=False))
        result, start = [], 0
        for unit, depth in enumerate(arch.depths):
            blocks = slice(start, start + depth)
            start += depth
            kernels = arch.kernels[blocks] or (max(self.kernels[unit]),) * depth
            ratios = arch.expand_ratios[blocks] or (ratio_of[depth],) * depth
            result.append(UnitVariant(unit, kernels, ratios))
        return tuple(result)

    def unit_variants(self) -> tuple[UnitVariant, ...]:
        """Every form of every unit of a compound space with fixed kernels: 15 for CompOFA's."""
        whole = [Architecture((d,) * len(self.kernels), self.resolutions[0]) for d in self.depths]
        forms = [self.variants(arch) for arch in whole]
        return tuple(form[unit] for unit in range(len(self.kernels)) for form in forms)

    def blocks(self, variant: UnitVariant) -> tuple[BlockShape, ...]:
        """The shape of each active block of a unit variant."""
        spec = self.skeleton.units[variant.unit]
        shapes, in_channels = [], self.skeleton.unit_in_channels(variant.unit)
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

    @property
    def first_block(self) -> BlockShape:
        """The static block after the first convolution: expand ratio 1, 3x3, ReLU."""
        s = self.skeleton
        return BlockShape(
            s.stem_channels, s.stem_channels, s.first_block_channels, 3, 1, "relu", False
        )

    def full_unit(self, unit: int) -> UnitVariant:
        """The form that stores every weight of the unit: deepest, widest, largest kernel."""
        depth = max(self.depths)
        kernel = self.skeleton.units[unit].kernel
        return UnitVariant(unit, (kernel,) * depth, (max(self.expand_ratios),) * depth)

    def _uniform(self, end: Literal[0, -1]) -> Architecture:
        """The architecture at one end of every choice: 0 the smallest, -1 the largest."""
        depths = (self.depths[end],) * len(self.kernels)
        kernels = [sorted(self.kernels[u])[end] for u, d in enumerate(depths) for _ in range(d)]
        ratios = (self.expand_ratios[end],) * sum(depths)
        return Architecture(
            depths=depths,
            resolution=self.resolutions[end],
            kernels=tuple(kernels) if self.elastic_kernels else (),
            expand_ratios=() if self.compound else ratios,
        )

    def _unit_forms(self, unit: int) -> int:
        kernels = len(self.kernels[unit])
        ratios = 1 if self.compound else len(self.expand_ratios)
        return sum((kernels * ratios) ** d for d in self.depths)

    def _check_choice(self, arch: Architecture, field: str, expected: int) -> None:
        given = len(getattr(arch, field))
        if given != expected:
            raise ValueError(f"subnet {arch.id}: expected {expected} {field}, got {given}")
