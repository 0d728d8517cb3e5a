"""From a supernet to one that holds a single architecture, ready to be trained further."""

from __future__ import annotations

import torch

from supernet.architecture import Architecture
from supernet.layers import ElasticBlock, ElasticConv
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

    Weights are copied at the architecture's size, kernels after their transform; of a frozen
    normalisation it keeps what stands on the path. Raises `ValueError` where `arch` is not of
    the space or its statistics are missing.
    """
    space = supernet.space.narrowed(arch)
    narrowed = Supernet(space, _normalization(supernet, arch))
    with torch.no_grad():
        _copy_conv(narrowed.first_conv, supernet.first_conv)
        _copy_block(narrowed.first_block, supernet.first_block)
        for unit in range(len(narrowed.units)):
            # The narrowed unit may be shallower than the one stored.
            for target, source in zip(
                narrowed.unit_blocks(unit), supernet.unit_blocks(unit), strict=False
            ):
                _copy_block(target, source)
        _copy_conv(narrowed.final_expand, supernet.final_expand)
    narrowed.feature_mix.load_state_dict(supernet.feature_mix.state_dict())
    narrowed.classifier.load_state_dict(supernet.classifier.state_dict())
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


def _copy_conv(target: ElasticConv, source: ElasticConv) -> None:
    out_channels, in_channels, kernel, _ = target.weight.shape
    conv = source.sliced(in_channels, out_channels, kernel)
    target.weight.copy_(conv.weight)
    target.gamma.copy_(conv.gamma)
    target.beta.copy_(conv.beta)


def _copy_block(target: ElasticBlock, source: ElasticBlock) -> None:
    if target.expand is not None and source.expand is not None:
        _copy_conv(target.expand, source.expand)
    _copy_conv(target.depthwise, source.depthwise)
    if target.se is not None and source.se is not None:
        hidden, channels = target.se.reduce.weight.shape[:2]
        parts = source.se.sliced(channels, hidden)
        target.se.load_state_dict(dict(zip(target.se.state_dict(), parts, strict=True)))
    _copy_conv(target.project, source.project)
