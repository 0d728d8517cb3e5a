"""What every family of supernets has in common: units in several forms, between a stem and a head.

A family says with its skeleton what all its subnets share. Here is what others may ask of one,
whichever family it is of; nothing here knows a layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]


class Frozen(BaseModel):
    """A value that is checked when it is made and never changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, slots=True)
class UnitVariant:
    """One form of one unit: expand ratio and kernel of each active block; no kernels in a family
    that has none."""

    unit: int
    kernels: tuple[int, ...]
    expand_ratios: tuple[int, ...]

    @property
    def depth(self) -> int:
        return len(self.expand_ratios)

    @property
    def name(self) -> str:
        """The piece's name, for instance `unit2/k5-5/e3-3`."""
        kernels, ratios = ("-".join(map(str, n)) for n in (self.kernels, self.expand_ratios))
        return "/".join([f"unit{self.unit}", *([f"k{kernels}"] if kernels else []), f"e{ratios}"])


Path = tuple[UnitVariant, ...]
"""The form of every unit in order, or of the first few."""


def unit_of(piece: str) -> int | None:
    """Which unit a piece is a form of, by its name; None for stem and head."""
    unit = piece.partition("/")[0].removeprefix("unit")
    return int(unit) if unit.isdecimal() else None


@dataclass(frozen=True, slots=True)
class Complexity:
    """`macs` for one input, convolutions and linear layers, as the field counts them;
    `parameters` with batch-norm scale and shift (a folded net has the same number)."""

    macs: int
    parameters: int

    def __add__(self, other: Complexity) -> Complexity:
        return Complexity(self.macs + other.macs, self.parameters + other.parameters)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a net takes: images with so many channels, R x R pixels at resolution R, or tokens,
    numbers below `vocabulary`, of which it takes R."""

    kind: Literal["image", "tokens"]
    channels: int = 0
    vocabulary: int = 0

    @property
    def dtype(self) -> Literal["FP32", "INT64"]:
        """Of the elements, as protocols call it."""
        return "FP32" if self.kind == "image" else "INT64"

    def shape(self, resolution: int) -> tuple[int, ...]:
        """Of one input."""
        if self.kind == "tokens":
            return (resolution,)
        return (self.channels, resolution, resolution)


class Skeleton(Protocol):
    """What all subnets of a space share outside the choices."""

    def __hash__(self) -> int: ...

    @property
    def classes(self) -> int:
        """How many there are to tell apart."""
        ...

    @property
    def unit_count(self) -> int: ...

    @property
    def inputs(self) -> Inputs: ...

    @property
    def normalised_ends(self) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """The channels of the layers of stem and of head that are followed by batch norm, by
        name; empty in a family without batch norm, whose pieces are exact as they are."""
        ...

    def normalised(self, variant: UnitVariant) -> Mapping[str, int]:
        """The same of a unit's form."""
        ...

    def stored_kernel(self, unit: int) -> int | None:
        """The size at which a unit stores its kernels; None in a family that has none."""
        ...

    def pieces(self, resolution: int, path: Path) -> Iterator[Complexity]:
        """Of the stem, of each unit on the path, and of the head."""
        ...

    def piece_input(self, piece: str) -> tuple[int, ...]:
        """The shape of what comes into a piece, batch first; -1 for what depends on the run."""
        ...
