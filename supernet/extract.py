"""From a supernet with frozen normalisation to plain modules: one subnet, or the pieces.

What comes out is ordinary layers with biases, owns its weights and knows nothing of the
supernet. A folded net's pieces are exact in every subnet, so a chain of them *is* the
extracted subnet.
"""

from __future__ import annotations

from torch import nn

from supernet.architecture import Architecture
from supernet.model import Supernet
from supernet.normalization import FrozenNormalization, PieceAffine, Position


def extract(supernet: Supernet, arch: Architecture) -> nn.Sequential:
    """The subnet `arch` as a plain module: inputs [B, …] → logits [B, classes].

    Raises `ValueError` where `arch` is not of the space or its statistics are missing.
    """
    supernet.space.check(arch)
    norm, family = _frozen(supernet), supernet.family
    position = Position.start(arch.resolution)
    chain = [family.plain_stem(supernet, norm.at(position))]
    for variant in supernet.space.variants(arch):
        position = position.then(variant.name)
        chain.append(family.plain_unit(supernet, variant, norm.at(position)))
    chain.append(family.plain_head(supernet, norm.at(position.then("head"))))
    return nn.Sequential(*chain).eval()


def pieces(supernet: Supernet) -> dict[str, nn.Module]:
    """Every piece of a folded net by name: stem, each unit variant, head (17 for CompOFA).

    Raises `ValueError` for a net that keeps statistics per subnet: it has no exact pieces.
    """
    norm, family = _frozen(supernet), supernet.family
    if not isinstance(norm, PieceAffine):
        raise ValueError(f"a net with {norm.kind} has no pieces of its own: fold it first")
    result = {"stem": family.plain_stem(supernet, norm.at(Position("stem", ())))}
    for variant in supernet.space.unit_variants():
        at = norm.at(Position(variant.name, ()))
        result[variant.name] = family.plain_unit(supernet, variant, at)
    result["head"] = family.plain_head(supernet, norm.at(Position("head", ())))
    return {name: piece.eval() for name, piece in result.items()}


def piece_names(supernet: Supernet, arch: Architecture) -> tuple[str, ...]:
    """The pieces that make up `arch`, in order."""
    return ("stem", *(v.name for v in supernet.space.variants(arch)), "head")


def _frozen(supernet: Supernet) -> FrozenNormalization:
    norm = supernet.normalization
    if not isinstance(norm, FrozenNormalization):
        raise ValueError("a net in training cannot be extracted: calibrate or fold it first")
    return norm
