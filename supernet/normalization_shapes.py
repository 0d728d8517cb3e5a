"""What each kind of frozen normalisation holds for a design space: every name with its shape.

Checked against when an artifact is loaded, and copied by when a space is narrowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from supernet.architecture import Architecture
from supernet.design_space import DesignSpace
from supernet.manifest import NormalizationKind
from supernet.normalization import Position
from supernet.skeleton import BlockShape, UnitVariant

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
        units = range(len(space.skeleton.units))
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
    channels = {f"stem|{layer}": n for layer, n in _stem(space).items()}
    for variant in variants:
        channels |= {f"{variant.name}|{layer}": n for layer, n in _unit(space, variant).items()}
    return channels | {"head|final_expand": space.skeleton.head_channels}


def _of_paths(space: DesignSpace, archs: Iterable[Architecture]) -> dict[str, int]:
    """The channels of every layer on the way of the given architectures, by path."""
    channels: dict[str, int] = {}
    for arch in archs:
        position = Position.start(arch.resolution)
        channels |= {f"{position.key}|{layer}": n for layer, n in _stem(space).items()}
        for variant in space.variants(arch):
            position = position.then(variant.name)
            layers = _unit(space, variant)
            channels |= {f"{position.key}|{layer}": n for layer, n in layers.items()}
        channels[f"{position.then('head').key}|final_expand"] = space.skeleton.head_channels
    return channels


def _stem(space: DesignSpace) -> dict[str, int]:
    s = space.skeleton
    return {"first_conv": s.stem_channels, **_block("first_block", s.first_block, expands=False)}


def _unit(space: DesignSpace, variant: UnitVariant) -> dict[str, int]:
    channels: dict[str, int] = {}
    for i, shape in enumerate(space.blocks(variant)):
        channels |= _block(f"block{i}", shape)
    return channels


def _block(name: str, shape: BlockShape, *, expands: bool = True) -> dict[str, int]:
    channels = {"depthwise": shape.mid_channels, "project": shape.out_channels}
    if expands:
        channels["expand"] = shape.mid_channels
    return {f"{name}/{layer}": n for layer, n in channels.items()}
