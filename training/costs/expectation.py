"""The mean of `step_macs` over what a phase samples: exact, and without sampling.

Units are drawn independently, and so are the blocks of a unit; what subnets have in common is
counted by the probability that at least one of them takes each beginning.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from supernet.complexity import piece_macs
from supernet.design_space import DesignSpace
from supernet.skeleton import Path, Skeleton, UnitVariant
from training.costs.cost import TRAINING_FACTOR, forward_macs
from training.recipe import Phase


def expected_step_macs(
    space: DesignSpace,
    phase: Phase,
    teacher_space: DesignSpace | None = None,
    resolutions: Sequence[int] = (),
) -> float:
    """MACs of one image in a step of `phase`, which trains subnets of `space`.

    `teacher_space` is that of the net that teaches, its largest; None where none of its own does.
    `resolutions` are what a step's is drawn from, by default those of the space.
    """
    sizes = resolutions or space.resolutions
    return fmean(_at(space, phase, teacher_space, size) for size in sizes)


def _at(
    space: DesignSpace, phase: Phase, teacher_space: DesignSpace | None, resolution: int
) -> float:
    picks = ["largest"] if space.only else phase.subnets
    fixed = [getattr(space, pick).at(resolution) for pick in picks if pick != "random"]
    paths = [space.variants(arch) for arch in fixed]
    draws = _Draws(space.skeleton, resolution, _choices(space, phase), picks.count("random"))
    trained = draws.shared_with(paths) if phase.share_prefix else draws.beside(paths)
    teacher = teacher_space and teacher_space.largest.at(resolution)
    taught = forward_macs(teacher_space, teacher) if teacher_space and teacher else 0
    return TRAINING_FACTOR * trained + taught


@dataclass(frozen=True, slots=True)
class _Choice:
    """What a unit may be: the depths, each with its ratios; the kernels of each block."""

    ratios: dict[int, tuple[int, ...]]
    kernels: tuple[int, ...]

    def forms(self, depth: int) -> int:
        return math.prod([max(1, len(self.kernels)) * len(self.ratios[depth])] * depth)

    def probability(self, variant: UnitVariant) -> float:
        """Of exactly this form."""
        ratios = self.ratios.get(variant.depth, ())
        if not (
            set(variant.kernels) <= set(self.kernels) and set(variant.expand_ratios) <= set(ratios)
        ):
            return 0.0
        return 1.0 / (len(self.ratios) * self.forms(variant.depth))


def _choices(space: DesignSpace, phase: Phase) -> list[_Choice]:
    """What is left of the space by what the phase allows, for each unit."""
    try:
        left = space.choices.narrowed(
            depths=phase.depths or None,
            kernels=phase.kernels or None,
            expand_ratios=phase.expand_ratios or None,
        )
    except ValueError as error:
        raise ValueError(f"phase {phase.name!r}: {error}") from None
    ratios = {depth: left.ratios(depth) for depth in left.depths}
    return [_Choice(ratios, kernels) for kernels in left.kernels]


@dataclass(frozen=True, slots=True)
class _Draws:
    """`number` subnets of one resolution, each unit of each drawn from `choices`."""

    skeleton: Skeleton
    resolution: int
    choices: list[_Choice]
    number: int

    def beside(self, paths: list[Path]) -> float:
        """Forward MACs of the draws and of `paths`, each on its own."""
        stem, head = self._ends()
        drawn = stem + sum(fmean(macs.values()) for macs in self._unit_macs()) + head
        return self.number * drawn + sum(sum(self._macs(path)) for path in paths)

    def shared_with(self, paths: list[Path]) -> float:
        """Forward MACs of the draws and of `paths` where each common beginning runs once."""
        (stem, head), macs = self._ends(), self._unit_macs()
        total = float(stem)
        for length in range(1, len(macs) + 1):
            after = head if length == len(macs) else 0
            for depths in itertools.product(self.choices[0].ratios, repeat=length):
                forms = [c.forms(d) for c, d in zip(self.choices, depths, strict=False)]
                probability = 1.0 / math.prod(n * len(self.choices[0].ratios) for n in forms)
                cost = macs[length - 1][depths[-1]] + after
                total += math.prod(forms) * self._taken(probability) * cost
            for beginning in {path[:length] for path in paths}:
                chances = zip(self.choices, beginning, strict=False)
                probability = math.prod(c.probability(variant) for c, variant in chances)
                cost = self._macs(beginning)[length] + after
                total += (1.0 - self._taken(probability)) * cost
        return total

    def _taken(self, probability: float) -> float:
        """That at least one draw has what each has with `probability`."""
        if probability == 1.0:
            return float(self.number > 0)
        return -math.expm1(self.number * math.log1p(-probability))

    def _unit_macs(self) -> list[dict[int, float]]:
        """The mean MACs of each unit by its depth. A block's depend on no other block, so they
        are those of the forms whose blocks are all alike."""
        return [
            {
                depth: fmean(
                    self._alike(depth, kernel, ratio)[unit]
                    for kernel in choice.kernels or (None,)
                    for ratio in ratios
                )
                for depth, ratios in choice.ratios.items()
            }
            for unit, choice in enumerate(self.choices)
        ]

    def _alike(self, depth: int, kernel: int | None, ratio: int) -> tuple[int, ...]:
        units, kernels = range(len(self.choices)), () if kernel is None else (kernel,) * depth
        path = tuple(UnitVariant(u, kernels, (ratio,) * depth) for u in units)
        return self._macs(path)[1:-1]

    def _ends(self) -> tuple[int, int]:
        """Stem and head, which do not depend on the path."""
        least = ((c.kernels[:1], next(iter(c.ratios.values()))[:1]) for c in self.choices)
        path = tuple(UnitVariant(u, *form) for u, form in enumerate(least))
        stem, *_, head = self._macs(path)
        return stem, head

    def _macs(self, path: Path) -> tuple[int, ...]:
        return piece_macs(self.skeleton, self.resolution, path)
