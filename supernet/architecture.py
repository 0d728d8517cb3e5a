"""The description of one subnet, as a value.

An `Architecture` says how deep each unit is and at which resolution the subnet
runs; kernels and expand ratios only where the design space leaves them free.
It knows nothing of weights, and nothing is ever 'set active': it is passed in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_NUMBERS = r"[1-9]\d{0,3}(?:-[1-9]\d{0,3})*"
_ID = re.compile(
    rf"d(?P<depths>{_NUMBERS})(?:/k(?P<kernels>{_NUMBERS}))?"
    rf"(?:/e(?P<expand_ratios>{_NUMBERS}))?@(?P<resolution>[1-9]\d{{0,3}})"
)


@dataclass(frozen=True, slots=True, order=True)
class Architecture:
    """One subnet: depth per unit, input resolution in pixels, and what is elastic per block.

    `kernels` and `expand_ratios` hold one number an active block, in order, and are
    empty where the design space fixes or couples them. Hashable and ordered, so it can
    be a dictionary's key and sorts the same everywhere.
    """

    depths: tuple[int, ...]
    resolution: int
    kernels: tuple[int, ...] = ()
    expand_ratios: tuple[int, ...] = ()

    @property
    def id(self) -> str:
        """The subnet id, for instance `d2-3-4-2-3@192` or `d2-2/k3-5-3-3@192`."""
        parts = ["d" + _join(self.depths)]
        if self.kernels:
            parts.append("k" + _join(self.kernels))
        if self.expand_ratios:
            parts.append("e" + _join(self.expand_ratios))
        return "/".join(parts) + f"@{self.resolution}"

    def at(self, resolution: int) -> Architecture:
        """The same subnet at another resolution."""
        return replace(self, resolution=resolution)

    @classmethod
    def parse(cls, subnet_id: str) -> Architecture:
        """The inverse of `id`. Raises `ValueError` where the text is not a subnet id."""
        match = _ID.fullmatch(subnet_id)
        if match is None:
            raise ValueError(f"subnet id {subnet_id!r}: expected a form like 'd2-3-4-2-3@192'")
        return cls(
            depths=_split(match["depths"]),
            resolution=int(match["resolution"]),
            kernels=_split(match["kernels"]),
            expand_ratios=_split(match["expand_ratios"]),
        )

    def __str__(self) -> str:
        return self.id


def _join(numbers: tuple[int, ...]) -> str:
    return "-".join(map(str, numbers))


def _split(numbers: str | None) -> tuple[int, ...]:
    return tuple(int(n) for n in numbers.split("-")) if numbers else ()
