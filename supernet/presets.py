"""The design spaces that ship with the project, by name."""

from __future__ import annotations

from collections.abc import Callable

from supernet.design_space import (
    Activation,
    DesignSpace,
    Kernel,
    Skeleton,
    Stride,
    UnitSpec,
    make_divisible,
)

_ACTIVATIONS: tuple[Activation, ...] = ("relu", "relu", "h_swish", "h_swish", "h_swish")
_SE = (False, True, False, True, True)
_KERNELS: tuple[Kernel, ...] = (3, 5, 3, 3, 5)  # CompOFA's fixed kernels, one a unit
_IMAGENET_STRIDES: tuple[Stride, ...] = (2, 2, 2, 1, 2)
_SMALL_STRIDES: tuple[Stride, ...] = (2, 2, 1, 2, 1)


def imagenet_mbv3(width: float = 1.0) -> DesignSpace:
    """CompOFA's MobileNetV3 space for ImageNet, 243 subnets at each of five resolutions.

    Weights are stored at 7x7, as published; the fixed kernels are their centre crops.
    `width` multiplies every channel count (the published nets use 1.0 and 1.2).
    """

    def wide(channels: int) -> int:
        return make_divisible(channels * width)

    units = tuple(
        UnitSpec(out_channels=wide(channels), stride=stride, activation=activation, se=se, kernel=7)
        for channels, stride, activation, se in zip(
            (24, 40, 80, 112, 160), _IMAGENET_STRIDES, _ACTIVATIONS, _SE, strict=True
        )
    )
    return DesignSpace(
        name="imagenet-mbv3" if width == 1.0 else f"imagenet-mbv3-w{width}",
        skeleton=Skeleton(
            in_channels=3,
            stem_channels=wide(16),
            stem_stride=2,
            first_block_channels=wide(16),
            units=units,
            head_channels=wide(960),
            feature_channels=wide(1280),
            classes=1000,
        ),
        depths=(2, 3, 4),
        expand_ratios=(3, 4, 6),
        compound=True,
        kernels=tuple((k,) for k in _KERNELS),
        resolutions=(128, 160, 192, 208, 224),
    )


def fashion_mnist_mbv3() -> DesignSpace:
    """A small compound space for 1x28x28 images: 243 subnets at each of three resolutions."""
    units = tuple(
        UnitSpec(out_channels=channels, stride=stride, activation=activation, se=se, kernel=kernel)
        for channels, stride, activation, se, kernel in zip(
            (16, 24, 40, 48, 48), _SMALL_STRIDES, _ACTIVATIONS, _SE, _KERNELS, strict=True
        )
    )
    return DesignSpace(
        name="fashion-mnist-mbv3",
        skeleton=Skeleton(
            in_channels=1,
            stem_channels=8,
            stem_stride=1,
            first_block_channels=8,
            units=units,
            head_channels=224,
            feature_channels=256,
            classes=10,
        ),
        depths=(2, 3, 4),
        expand_ratios=(3, 4, 6),
        compound=True,
        kernels=tuple((k,) for k in _KERNELS),
        resolutions=(20, 24, 28),
    )


PRESETS: dict[str, Callable[[], DesignSpace]] = {
    "imagenet-mbv3": imagenet_mbv3,
    "imagenet-mbv3-w1.2": lambda: imagenet_mbv3(1.2),
    "fashion-mnist-mbv3": fashion_mnist_mbv3,
}


def design_space(name: str) -> DesignSpace:
    """The preset called `name`. Raises `ValueError` listing the presets there are."""
    if name not in PRESETS:
        raise ValueError(f"design space {name!r}: expected one of {', '.join(PRESETS)}")
    return PRESETS[name]()
