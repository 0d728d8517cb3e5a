"""What is left to choose from where a design space's choices are narrowed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Choices:
    """Depths of a unit, kernels of each unit's blocks, expand ratios. No kernels is a family
    without; else none of them is empty.

    Where `ratio_of` is not empty a unit's ratio is that of its depth.
    """

    depths: tuple[int, ...]
    kernels: tuple[tuple[int, ...], ...]
    expand_ratios: tuple[int, ...]
    ratio_of: dict[int, int]

    def narrowed(
        self,
        *,
        depths: Sequence[int] | None = None,
        kernels: Sequence[int] | None = None,
        expand_ratios: Sequence[int] | None = None,
    ) -> Self:
        """What is among those given too; all where none are. Raises `ValueError` where nothing
        is left, naming the field. A depth goes where its ratio goes."""
        ratios = _left("expand_ratios", self.expand_ratios, expand_ratios)
        left = _left("depths", self.depths, depths)
        if self.ratio_of:
            left = _left(
                "depths", left, [d for d, ratio in self.ratio_of.items() if ratio in ratios]
            )
        if kernels and not any(self.kernels):
            raise ValueError(f"kernels: the net has none, got {list(kernels)}")
        sizes = tuple(
            _left(f"kernels of unit {u}", k, kernels) if k else ()
            for u, k in enumerate(self.kernels)
        )
        return type(self)(left, sizes, ratios, self.ratio_of)

    def ratios(self, depth: int) -> tuple[int, ...]:
        """The expand ratios of a unit so deep."""
        return (self.ratio_of[depth],) if self.ratio_of else self.expand_ratios


def _left(field: str, choices: Iterable[int], given: Sequence[int] | None) -> tuple[int, ...]:
    left = tuple(choice for choice in choices if given is None or choice in given)
    if not left:
        raise ValueError(f"{field}: expected some of {list(choices)}, got {list(given or ())}")
    return left
