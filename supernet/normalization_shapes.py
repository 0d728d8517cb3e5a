"""What each kind of frozen normalisation holds for a design space: every name with its shape.

Checked against when an artifact is loaded, and copied by when a space is narrowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from supernet.architecture import Architecture
from supernet.design_space import DesignSpace
from supernet.manifest import NormalizationKind
from supernet.normalization import Position
from supernet.skeleton import UnitVariant

Shapes = dict[str, tuple[int, ...]]


def normalization_shapes(
    kind: NormalizationKind, space: DesignSpace, archs: Iterable[Architecture]
) -> Shapes:
    """Name → shape; `archs` are those that statistics per subnet have to be there for.

    Raises `ValueError` for a folded net on a space whose pieces are too many to list.
    """
    if kind == "piece-affine":
        return _ends(_of_pieces(space, space.unit_variants()), ("scale", "shift"))
    if kind == "shared-statistics":
        units = range(space.skeleton.unit_count)
        stored = _of_pieces(space, [space.full_unit(unit) for unit in units])
        return _ends({_stored(name): n for name, n in stored.items()}, ("mean", "var"))
    return _ends(_of_paths(space, archs), ("mean", "var"))


def _ends(channels: Mapping[str, int], ends: tuple[str, str]) -> Shapes:
    return {f"{name}|{end}": (n,) for name, n in channels.items() for end in ends}


def _stored(name: str) -> str:
    piece, layer = name.split("|")
    return f"{Position(piece, ()).stored}|{layer}"


def _of_pieces(space: DesignSpace, variants: Iterable[UnitVariant]) -> dict[str, int]:
    """The channels of every layer of stem, head and the given variants, by piece."""
    stem, head = space.skeleton.normalised_ends
    channels = _named("stem", stem)
    for variant in variants:
        channels |= _named(variant.name, space.skeleton.normalised(variant))
    return channels | _named("head", head)


def _of_paths(space: DesignSpace, archs: Iterable[Architecture]) -> dict[str, int]:
    """The channels of every layer on the way of the given architectures, by path."""
    stem, head = space.skeleton.normalised_ends
    channels: dict[str, int] = {}
    for arch in archs:
        position = Position.start(arch.resolution)
        channels |= _named(position.key, stem)
        for variant in space.variants(arch):
            position = position.then(variant.name)
            channels |= _named(position.key, space.skeleton.normalised(variant))
        channels |= _named(position.then("head").key, head)
    return channels


def _named(place: str, layers: Mapping[str, int]) -> dict[str, int]:
    return {f"{place}|{layer}": channels for layer, channels in layers.items()}
