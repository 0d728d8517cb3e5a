"""The design spaces that ship with the project, by name.

Each of the two skeletons has three: `compound` couples depth and width and fixes the kernels
(CompOFA), `elastic` frees the kernels of every block, `ofa` frees expand ratios too and
transforms kernels as Once-for-All does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from supernet.design_space import DesignSpace
from supernet.skeleton import Activation, Kernel, Skeleton, Stride, UnitSpec, make_divisible

_ACTIVATIONS: tuple[Activation, ...] = ("relu", "relu", "h_swish", "h_swish", "h_swish")
_SE = (False, True, False, True, True)
_KERNELS: tuple[Kernel, ...] = (3, 5, 3, 3, 5)  # CompOFA's fixed kernels, one a unit
_ALL_KERNELS: tuple[Kernel, ...] = (3, 5, 7)
_IMAGENET_STRIDES: tuple[Stride, ...] = (2, 2, 2, 1, 2)
_SMALL_STRIDES: tuple[Stride, ...] = (2, 2, 1, 2, 1)
IMAGENET_RESOLUTIONS = (128, 160, 192, 208, 224)


def imagenet_skeleton(width: float = 1.0, classes: int = 1000) -> Skeleton:
    """Once-for-All's MobileNetV3 for ImageNet, weights stored at 7x7.

    `width` multiplies every channel count (the published nets use 1.0 and 1.2).
    """

    def wide(channels: int) -> int:
        return make_divisible(channels * width)

    return Skeleton(
        in_channels=3,
        stem_channels=wide(16),
        stem_stride=2,
        first_block_channels=wide(16),
        units=_units([wide(c) for c in (24, 40, 80, 112, 160)], _IMAGENET_STRIDES, (7,) * 5),
        head_channels=wide(960),
        feature_channels=wide(1280),
        classes=classes,
    )


def fashion_mnist_skeleton(kernels: tuple[Kernel, ...]) -> Skeleton:
    """A small net for 1x28x28 images, each unit's weights stored at the given size."""
    return Skeleton(
        in_channels=1,
        stem_channels=8,
        stem_stride=1,
        first_block_channels=8,
        units=_units((16, 24, 40, 48, 48), _SMALL_STRIDES, kernels),
        head_channels=224,
        feature_channels=256,
        classes=10,
    )


def compound(name: str, skeleton: Skeleton, resolutions: tuple[int, ...]) -> DesignSpace:
    """CompOFA's space: 243 subnets a resolution, one kernel size a unit.

    Where weights are stored at a size below CompOFA's, that size is the unit's kernel.
    """
    fixed = [min(k, unit.kernel) for k, unit in zip(_KERNELS, skeleton.units, strict=True)]
    return _space(name, skeleton, resolutions, compound=True, kernels=[(k,) for k in fixed])


def elastic(name: str, skeleton: Skeleton, resolutions: tuple[int, ...]) -> DesignSpace:
    """CompOFA's space with the kernel of every block free, cropped at its centre."""
    return _with_free_kernels(name, skeleton, resolutions, compound=True)


def once_for_all(name: str, skeleton: Skeleton, resolutions: tuple[int, ...]) -> DesignSpace:
    """Once-for-All's space: kernel and expand ratio of every block free, kernels transformed."""
    return _with_free_kernels(name, skeleton, resolutions, compound=False, kernel_transform=True)


def _with_free_kernels(
    name: str, skeleton: Skeleton, resolutions: tuple[int, ...], **choices: Any
) -> DesignSpace:
    stored = [unit.kernel for unit in skeleton.units]
    return _space(
        name,
        skeleton,
        resolutions,
        kernels=[tuple(k for k in _ALL_KERNELS if k <= size) for size in stored],
        representative_kernels=[min(k, s) for k, s in zip(_KERNELS, stored, strict=True)],
        **choices,
    )


def _space(
    name: str, skeleton: Skeleton, resolutions: tuple[int, ...], **choices: Any
) -> DesignSpace:
    return DesignSpace(
        name=name,
        skeleton=skeleton,
        depths=(2, 3, 4),
        expand_ratios=(3, 4, 6),
        resolutions=resolutions,
        **choices,
    )


def _units(
    channels: Sequence[int], strides: Sequence[Stride], kernels: Sequence[Kernel]
) -> tuple[UnitSpec, ...]:
    return tuple(
        UnitSpec(out_channels=c, stride=stride, activation=activation, se=se, kernel=kernel)
        for c, stride, activation, se, kernel in zip(
            channels, strides, _ACTIVATIONS, _SE, kernels, strict=True
        )
    )


_KINDS: dict[str, Callable[[str, Skeleton, tuple[int, ...]], DesignSpace]] = {
    "": compound,
    "-elastic": elastic,
    "-ofa": once_for_all,
}


def _imagenet(kind: str, width: float) -> DesignSpace:
    suffix = "" if width == 1.0 else f"-w{width}"
    skeleton = imagenet_skeleton(width)
    return _KINDS[kind](f"imagenet-mbv3{kind}{suffix}", skeleton, IMAGENET_RESOLUTIONS)


def _fashion_mnist(kind: str) -> DesignSpace:
    skeleton = fashion_mnist_skeleton((7,) * 5 if kind else _KERNELS)
    return _KINDS[kind](f"fashion-mnist-mbv3{kind}", skeleton, (20, 24, 28))


PRESETS: dict[str, Callable[[], DesignSpace]] = {
    **{
        f"imagenet-mbv3{kind}{suffix}": partial(_imagenet, kind, width)
        for kind in _KINDS
        for suffix, width in (("", 1.0), ("-w1.2", 1.2))
    },
    **{f"fashion-mnist-mbv3{kind}": partial(_fashion_mnist, kind) for kind in _KINDS},
}


def design_space(name: str) -> DesignSpace:
    """The preset called `name`. Raises `ValueError` listing the presets there are."""
    if name not in PRESETS:
        raise ValueError(f"design space {name!r}: expected one of {', '.join(PRESETS)}")
    return PRESETS[name]()
