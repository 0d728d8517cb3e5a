"""Which architectures there are: a skeleton with fixed parts, and the choices on it.

A `DesignSpace` answers what belongs to it, lists or samples it, and resolves an
architecture into unit variants. It holds no weights.

The compound coupling of depth and expand ratio is CompOFA's (Sahni et al., ICLR 2021,
section 3); the free choices and the kernel transform are Once-for-All's (Cai et al., ICLR
2020, section 3.3).
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, Self

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    model_validator,
)

from supernet.architecture import Architecture
from supernet.choices import Choices
from supernet.mobilenet import Kernel, MobileNetSkeleton
from supernet.skeleton import Frozen, Positive, UnitVariant
from supernet.transformer import TransformerSkeleton

SubnetId = Annotated[
    Architecture,
    BeforeValidator(lambda given: Architecture.parse(given) if isinstance(given, str) else given),
    PlainSerializer(lambda arch: arch.id, return_type=str),
]


def _family(given: object) -> str:
    """Which family's skeleton is meant: artifacts were there before there was more than one."""
    if isinstance(given, dict):
        return f"<{given.get('family', 'mobilenet')}>"
    return "<transformer>" if isinstance(given, TransformerSkeleton) else "<mobilenet>"


class DesignSpace(Frozen):
    """A skeleton and the choices on it.

    `expand_ratios` belongs to `depths` entry by entry where `compound` is true (one ratio
    a depth, the same in every block of the unit), and is a free choice a block otherwise.
    `kernels` lists the sizes allowed in each unit; one size means it is fixed, none that the
    family has no kernels. A kernel
    smaller than the one stored is its centre, passed through linear maps that a block's
    channels share where `kernel_transform` is true. `representative_kernels`, one a unit,
    are those of the subnets that stand for a space too large to list; the largest where
    none are given. `only` narrows the space to one architecture, whose weights are then
    stored at its own size.
    """

    name: str
    skeleton: Annotated[
        Annotated[MobileNetSkeleton, Tag("<mobilenet>")]
        | Annotated[TransformerSkeleton, Tag("<transformer>")],
        Discriminator(_family),
    ]
    depths: tuple[Positive, ...] = Field(min_length=1)
    expand_ratios: tuple[Positive, ...] = Field(min_length=1)
    compound: bool
    kernels: tuple[tuple[Kernel, ...], ...]
    resolutions: tuple[Positive, ...] = Field(min_length=1)
    kernel_transform: bool = False
    representative_kernels: tuple[Kernel, ...] = ()
    only: SubnetId | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for field in ("depths", "expand_ratios", "resolutions"):
            values = getattr(self, field)
            if list(values) != sorted(set(values)):
                raise ValueError(f"{field} {values}: expected increasing values")
        if len(self.depths) != len(self.expand_ratios):
            raise ValueError("expand_ratios: expected one for each depth, to couple it with")
        if len(self.kernels) != self.skeleton.unit_count:
            raise ValueError("kernels: expected one entry a unit")
        for unit, sizes in enumerate(self.kernels):
            stored = self.skeleton.stored_kernel(unit) or 0
            if bool(sizes) != bool(stored) or max(sizes, default=0) > stored:
                raise ValueError(f"kernels {sizes}: the unit stores {stored}x{stored}")
        self._check_representative_kernels()
        if self.only is not None:
            self.check(self.only)
        return self

    def _check_representative_kernels(self) -> None:
        given = self.representative_kernels
        fits = len(given) == len(self.kernels) and all(
            kernel in sizes for kernel, sizes in zip(given, self.kernels, strict=True)
        )
        if given and not fits:
            raise ValueError(f"representative_kernels {given}: expected one of each unit's kernels")

    @property
    def elastic_kernels(self) -> bool:
        return any(len(sizes) > 1 for sizes in self.kernels)

    @property
    def choices(self) -> Choices:
        """What each unit and block is drawn from."""
        coupled = zip(self.depths, self.expand_ratios, strict=True) if self.compound else ()
        return Choices(self.depths, self.kernels, self.expand_ratios, dict(coupled))

    @property
    def can_be_listed(self) -> bool:
        """Whether `enumerate` lists the space: nothing is free within a unit, or one is left."""
        return self.only is not None or (self.compound and not self.elastic_kernels)

    @property
    def largest(self) -> Architecture:
        return self._uniform(-1)

    @property
    def smallest(self) -> Architecture:
        return self._uniform(0)

    def size(self) -> int:
        """How many architectures there are, resolutions included."""
        if self.only is not None:
            return 1
        return math.prod(self._unit_forms(u) for u in range(len(self.kernels))) * len(
            self.resolutions
        )

    def enumerate(self) -> Iterator[Architecture]:
        """Every architecture of a space that can be listed, smallest first.

        Raises `ValueError` for a space too large to list (elastic kernels or ratios).
        """
        self._check_can_be_listed()
        return self.representatives()

    def representatives(self) -> Iterator[Architecture]:
        """What a catalog lists: the whole space, or the 243 of the compound coupling.

        Of a space too large to list these are the architectures whose units take depth and
        expand ratio in step and `representative_kernels`, at every resolution.
        """
        if self.only is not None:
            yield self.only
            return
        for resolution in self.resolutions:
            for depths in itertools.product(self.depths, repeat=len(self.kernels)):
                yield self._coupled(depths, resolution)

    def sample(
        self,
        rng: random.Random,
        *,
        depths: Sequence[int] | None = None,
        kernels: Sequence[int] | None = None,
        expand_ratios: Sequence[int] | None = None,
        resolution: int = 0,
    ) -> Architecture:
        """A random architecture, each choice uniform among those that are left.

        What is given narrows the space's own choices; in a compound space `expand_ratios`
        narrows the depths they belong to. Raises `ValueError` where nothing is left.
        """
        if self.only is not None:
            return self.only
        left = self.choices.narrowed(depths=depths, kernels=kernels, expand_ratios=expand_ratios)
        chosen = tuple(rng.choice(left.depths) for _ in self.kernels)
        units = [u for u, depth in enumerate(chosen) for _ in range(depth)]
        return Architecture(
            depths=chosen,
            resolution=resolution or rng.choice(self.resolutions),
            kernels=tuple(rng.choice(left.kernels[u]) for u in units)
            if self.elastic_kernels
            else (),
            expand_ratios=()
            if self.compound
            else tuple(rng.choice(left.expand_ratios) for _ in units),
        )

    def narrowed(self, arch: Architecture) -> DesignSpace:
        """The space with this one architecture, whose id stays the same.

        Its kernels are stored as they are used, so there is nothing left to transform.
        """
        self.check(arch)
        if self.only is not None:
            return self
        changes = {
            "name": f"{self.name}:{arch.id}",
            "resolutions": (arch.resolution,),
            "kernel_transform": False,
            "only": arch,
        }
        return DesignSpace.model_validate(self.model_dump() | changes)

    def contains(self, arch: Architecture) -> bool:
        try:
            self.check(arch)
        except ValueError:
            return False
        return True

    def check(self, arch: Architecture) -> None:
        """Raise `ValueError`, naming the part that does not belong to this space."""
        if self.only not in (None, arch):
            raise ValueError(f"subnet {arch.id}: expected {self.only}, which is all there is")
        units = self.skeleton.unit_count
        if len(arch.depths) != units or not set(arch.depths) <= set(self.depths):
            raise ValueError(f"subnet {arch.id}: expected {units} depths from {self.depths}")
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
            kernels = arch.kernels[blocks] or self._largest_kernel(unit) * depth
            ratios = arch.expand_ratios[blocks] or (ratio_of[depth],) * depth
            result.append(UnitVariant(unit, kernels, ratios))
        return tuple(result)

    def unit_variants(self) -> tuple[UnitVariant, ...]:
        """Every form of every unit of a space that can be listed: 15 for CompOFA's.

        Raises `ValueError` for a space that cannot.
        """
        self._check_can_be_listed()
        if self.only is not None:
            return self.variants(self.only)
        whole = [self._coupled((d,) * len(self.kernels), self.resolutions[0]) for d in self.depths]
        forms = [self.variants(arch) for arch in whole]
        return tuple(form[unit] for unit in range(len(self.kernels)) for form in forms)

    def full_unit(self, unit: int) -> UnitVariant:
        """The form that stores every weight of the unit: deepest, widest, largest kernel."""
        if self.only is not None:
            return self.variants(self.only)[unit]
        depth = max(self.depths)
        kernel = self.skeleton.stored_kernel(unit)
        kernels = () if kernel is None else (kernel,) * depth
        return UnitVariant(unit, kernels, (max(self.expand_ratios),) * depth)

    def _coupled(self, depths: tuple[int, ...], resolution: int) -> Architecture:
        """The architecture of these depths whose other choices are the representative ones."""
        free = self.elastic_kernels
        sizes = self.representative_kernels or tuple(map(max, self.kernels)) if free else ()
        ratio_of = dict(zip(self.depths, self.expand_ratios, strict=True))
        units = [u for u, depth in enumerate(depths) for _ in range(depth)]
        return Architecture(
            depths=depths,
            resolution=resolution,
            kernels=tuple(sizes[u] for u in units) if free else (),
            expand_ratios=() if self.compound else tuple(ratio_of[depths[u]] for u in units),
        )

    def _uniform(self, end: Literal[0, -1]) -> Architecture:
        """The architecture at one end of every choice: 0 the smallest, -1 the largest."""
        if self.only is not None:
            return self.only
        depths = (self.depths[end],) * len(self.kernels)
        free = self.kernels if self.elastic_kernels else ()
        kernels = [sorted(free[u])[end] for u, d in enumerate(depths) for _ in range(d) if free]
        ratios = (self.expand_ratios[end],) * sum(depths)
        return Architecture(
            depths=depths,
            resolution=self.resolutions[end],
            kernels=tuple(kernels),
            expand_ratios=() if self.compound else ratios,
        )

    def _largest_kernel(self, unit: int) -> tuple[int, ...]:
        """As a tuple of one, or of none."""
        return (max(self.kernels[unit]),) if self.kernels[unit] else ()

    def _unit_forms(self, unit: int) -> int:
        kernels = max(1, len(self.kernels[unit]))
        ratios = 1 if self.compound else len(self.expand_ratios)
        return sum((kernels * ratios) ** d for d in self.depths)

    def _check_can_be_listed(self) -> None:
        if not self.can_be_listed:
            raise ValueError(
                f"design space {self.name!r} has {self.size():.3g} architectures: sample it instead"
            )

    def _check_choice(self, arch: Architecture, field: str, expected: int) -> None:
        given = len(getattr(arch, field))
        if given != expected:
            raise ValueError(f"subnet {arch.id}: expected {expected} {field}, got {given}")
