"""From a supernet to one that holds a single architecture, ready to be trained further."""

from __future__ import annotations

import torch

from supernet.architecture import Architecture
from supernet.model import Supernet
from supernet.normalization import (
    FROZEN,
    FrozenNormalization,
    Normalization,
    UncalibratedError,
)
from supernet.normalization_shapes import normalization_shapes


def narrow(supernet: Supernet, arch: Architecture) -> Supernet:
    """A net of its own with only what `arch` uses, computing the same.

    Weights are copied at the architecture's size; of a frozen normalisation it keeps what stands
    on the path. Raises `ValueError` where `arch` is not of the space or its statistics are
    missing.
    """
    space = supernet.space.narrowed(arch)
    narrowed = Supernet(space, _normalization(supernet, arch))
    with torch.no_grad():
        supernet.family.copy(narrowed, supernet)
    return narrowed


def _normalization(supernet: Supernet, arch: Architecture) -> Normalization | None:
    """What stands on the path of `arch`; None, which is the batch at hand, in training."""
    old = supernet.normalization
    if not isinstance(old, FrozenNormalization):
        return None
    shapes = normalization_shapes(old.kind, supernet.space.narrowed(arch), [arch])
    held = old.tensors()
    if not shapes.keys() <= held.keys():
        raise UncalibratedError(f"no statistics for subnet {arch.id}: calibrate it first")
    norm = FROZEN[old.kind]()
    norm.load({name: held[name][:channels].clone() for name, (channels,) in shapes.items()})
    return norm
