"""What Once-for-All's latency tables call the parts of a net: one key a layer or block.

A key names the kind and every size, for instance `Conv-input:160x160x3-output:80x80x24`
(feature maps as height x width x channels), so it is made from a net's real channels.
"""

from __future__ import annotations

from collections.abc import Iterator

from supernet.mobilenet import BlockShape, MobileNetSkeleton, strided
from supernet.skeleton import Path, UnitVariant


def unit_sizes(skeleton: MobileNetSkeleton, resolution: int) -> tuple[int, ...]:
    """Height and width of what enters each unit and, last, of what enters the head."""
    sizes = [strided(resolution, skeleton.stem_stride)]
    for unit in skeleton.units:
        sizes.append(strided(sizes[-1], unit.stride))
    return tuple(sizes)


def net_keys(skeleton: MobileNetSkeleton, resolution: int, path: Path) -> Iterator[str]:
    """Every part of the net whose units have the forms on `path`."""
    yield from end_keys(skeleton, resolution)
    for variant, size in zip(path, unit_sizes(skeleton, resolution), strict=False):
        yield from unit_keys(skeleton, variant, size)


def end_keys(skeleton: MobileNetSkeleton, resolution: int) -> Iterator[str]:
    """What all subnets share: first convolution and block, the last block if there is one, final
    expansion, pooling, feature mix if there is one, and classifier."""
    size, *_, last_size = unit_sizes(skeleton, resolution)
    image, last = _map(resolution, skeleton.in_channels), skeleton.head_in_channels
    wide, features = skeleton.head_channels, _map(1, skeleton.classifier_channels)
    yield f"Conv-input:{image}-output:{_map(size, skeleton.stem_channels)}"
    yield block_key(skeleton.first_block, size)
    if skeleton.final_block:
        yield block_key(skeleton.final_block, last_size)
    yield f"Conv_1-input:{_map(last_size, last)}-output:{_map(last_size, wide)}"
    yield f"AvgPool2D-input:{_map(last_size, wide)}-output:{_map(1, wide)}"
    if skeleton.feature_channels:
        yield f"Conv_2-input:{_map(1, wide)}-output:{features}"
    yield f"Logits-input:{features}-output:{skeleton.classes}"


def unit_keys(skeleton: MobileNetSkeleton, variant: UnitVariant, size: int) -> Iterator[str]:
    """Each block of a unit that `size` x `size` enters."""
    for shape in skeleton.blocks(variant):
        yield block_key(shape, size)
        size = strided(size, shape.stride)


def block_key(shape: BlockShape, size: int) -> str:
    """One block that `size` x `size` enters."""
    before = _map(size, shape.in_channels)
    after = _map(strided(size, shape.stride), shape.out_channels)
    return (
        f"expanded_conv-input:{before}-output:{after}-expand:{shape.mid_channels}"
        f"-kernel:{shape.kernel}-stride:{shape.stride}-idskip:{int(shape.has_shortcut)}"
        f"-se:{int(shape.se)}-hs:{int(shape.activation == 'h_swish')}"
    )


def _map(size: int, channels: int) -> str:
    return f"{size}x{size}x{channels}"
