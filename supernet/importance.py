"""Sorting channels by importance, so that slicing the first ones keeps the best."""

from __future__ import annotations

import torch
from torch import Tensor

from supernet.layers import ElasticBlock, ElasticConv, SqueezeExcitation
from supernet.model import Supernet


def sort_channels(supernet: Supernet) -> None:
    """Permute the middle channels of every elastic block, most important first, in place.

    Importance is the L1 norm of the projection's weights over its inputs (Cai et al., ICLR
    2020, section 3.3). The largest subnet computes the same function before and after.
    """
    with torch.no_grad():
        for unit in range(len(supernet.units)):
            for block in supernet.unit_blocks(unit):
                _sort_block(block)


def _sort_block(block: ElasticBlock) -> None:
    order = block.project.weight.abs().sum((0, 2, 3)).argsort(descending=True, stable=True)
    block.project.weight.copy_(block.project.weight[:, order])
    _permute_out(block.depthwise, order)
    if block.expand is not None:
        _permute_out(block.expand, order)
    if block.se is not None:
        _sort_gate(block.se, order)


def _permute_out(conv: ElasticConv, order: Tensor) -> None:
    for parameter in (conv.weight, conv.gamma, conv.beta):
        parameter.copy_(parameter[order])


def _sort_gate(se: SqueezeExcitation, order: Tensor) -> None:
    """Follow the block's order outside, and sort the gate's own hidden channels."""
    reduce, expand = se.reduce, se.expand
    reduce.weight.copy_(reduce.weight[:, order])
    for parameter in expand.parameters():
        parameter.copy_(parameter[order])
    hidden = expand.weight.abs().sum((0, 2, 3)).argsort(descending=True, stable=True)
    for parameter in reduce.parameters():
        parameter.copy_(parameter[hidden])
    expand.weight.copy_(expand.weight[:, hidden])
