"""The design spaces that ship with the project, by name.

Each of the two skeletons has one for each `Freedom`: `compound` couples depth and width and
fixes the kernels (CompOFA), `compound-elastic` frees the kernel of every block, `elastic` frees
its expand ratio too and transforms kernels (Once-for-All).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

from supernet.design_space import DesignSpace
from supernet.mobilenet import (
    Activation,
    Kernel,
    LastBlock,
    MobileNetSkeleton,
    Stride,
    UnitSpec,
    make_divisible,
)
from supernet.transformer import TransformerSkeleton

_ACTIVATIONS: tuple[Activation, ...] = ("relu", "relu", "h_swish", "h_swish", "h_swish")
_SE = (False, True, False, True, True)
_KERNELS: tuple[Kernel, ...] = (3, 5, 3, 3, 5)  # CompOFA's fixed kernels, one a unit
_ALL_KERNELS: tuple[Kernel, ...] = (3, 5, 7)
_IMAGENET_STRIDES: tuple[Stride, ...] = (2, 2, 2, 1, 2)
_FEATURE_CHANNELS = 1280  # at width 1.0
_SMALL_STRIDES: tuple[Stride, ...] = (2, 2, 1, 2, 1)

Freedom = Literal["compound", "compound-elastic", "elastic"]
_NAMES: dict[Freedom, str] = {"compound": "", "compound-elastic": "-elastic", "elastic": "-ofa"}


def imagenet_mbv3(
    freedom: Freedom = "compound",
    width: float = 1.0,
    *,
    classes: int = 1000,
    kernels: Sequence[Kernel] = (7,) * 5,
    kernel_transform: bool | None = None,
) -> DesignSpace:
    """Once-for-All's MobileNetV3 for ImageNet at five resolutions.

    `width` multiplies every channel count (the published nets use 1.0 and 1.2); `kernels` are
    the sizes at which the units store their weights. Kernels are transformed in the fully
    elastic space, unless `kernel_transform` says otherwise.
    """

    def wide(channels: int) -> int:
        return make_divisible(channels * width)

    skeleton = MobileNetSkeleton(
        in_channels=3,
        stem_channels=wide(16),
        stem_stride=2,
        first_block_channels=wide(16),
        units=_units([wide(c) for c in (24, 40, 80, 112, 160)], _IMAGENET_STRIDES, kernels),
        head_channels=wide(960),
        feature_channels=wide(_FEATURE_CHANNELS),
        classes=classes,
    )
    suffix = "" if width == 1.0 else f"-w{width:g}"
    return _space(
        freedom,
        name=f"imagenet-mbv3{_NAMES[freedom]}{suffix}",
        skeleton=skeleton,
        resolutions=(128, 160, 192, 208, 224),
        kernel_transform=freedom == "elastic" if kernel_transform is None else kernel_transform,
    )


def imagenet_width(skeleton: MobileNetSkeleton) -> float | None:
    """Which width multiplier of `imagenet_mbv3` has these channels; None where none has."""
    width = feature_width(skeleton.classifier_channels)
    kernels = [unit.kernel for unit in skeleton.units]
    if len(kernels) != len(_KERNELS):
        return None
    wide = imagenet_mbv3(width=width, classes=skeleton.classes, kernels=kernels)
    return width if wide.skeleton == skeleton else None


def feature_width(channels: int) -> float:
    """The width multiplier of a net for ImageNet with so many features before the classifier."""
    return channels / _FEATURE_CHANNELS


def fashion_mnist_mbv3(freedom: Freedom = "compound") -> DesignSpace:
    """A small net for 1x28x28 images at three resolutions."""
    kernels = _KERNELS if freedom == "compound" else (7,) * 5
    return _space(
        freedom,
        name=f"fashion-mnist-mbv3{_NAMES[freedom]}",
        skeleton=MobileNetSkeleton(
            in_channels=1,
            stem_channels=8,
            stem_stride=1,
            first_block_channels=8,
            units=_units((16, 24, 40, 48, 48), _SMALL_STRIDES, kernels),
            head_channels=224,
            feature_channels=256,
            classes=10,
        ),
        resolutions=(20, 24, 28),
        kernel_transform=freedom == "elastic",
    )


def imagenet_proxyless(width: float = 1.0, classes: int = 1000) -> DesignSpace:
    """ProxylessNAS (Cai et al., ICLR 2019) as Once-for-All made a space of it, coupled as in
    CompOFA: ReLU6 throughout, 3x3 kernels, no squeeze-and-excitation, a static last block, and
    no layer between pooling and classifier. `width` multiplies every channel count."""

    def wide(channels: int) -> int:
        return make_divisible(channels * width)

    channels = [wide(c) for c in (24, 40, 80, 96, 192)]
    suffix = "" if width == 1.0 else f"-w{width:g}"
    return _proxyless(
        f"imagenet-proxyless{suffix}",
        (128, 160, 192, 208, 224),
        in_channels=3,
        stem_channels=wide(32),
        stem_stride=2,
        first_block_channels=wide(16),
        units=_plain_units(channels, _IMAGENET_STRIDES),
        last_block=_last_block(wide(320)),
        head_channels=wide(1280) if width > 1.0 else 1280,
        classes=classes,
    )


def fashion_mnist_proxyless() -> DesignSpace:
    """The same for 1x28x28 images at three resolutions, small."""
    return _proxyless(
        "fashion-mnist-proxyless",
        (20, 24, 28),
        in_channels=1,
        stem_channels=16,
        stem_stride=1,
        first_block_channels=8,
        units=_plain_units((16, 24, 40, 48, 48), _SMALL_STRIDES),
        last_block=_last_block(80),
        head_channels=256,
        classes=10,
    )


def words() -> DesignSpace:
    """A small transformer that reads up to 16 letters; three layers a unit at most."""
    units = 4
    return DesignSpace(
        name="words",
        skeleton=TransformerSkeleton(
            vocabulary=27, tokens=16, width=64, head_width=16, unit_count=units, classes=10
        ),
        depths=(1, 2, 3),
        expand_ratios=(1, 2, 4),
        compound=True,
        kernels=((),) * units,
        resolutions=(8, 12, 16),
    )


def _proxyless(name: str, resolutions: tuple[int, ...], **fixed: Any) -> DesignSpace:
    skeleton = MobileNetSkeleton(
        **fixed,
        stem_activation="relu6",
        first_block_activation="relu6",
        head_activation="relu6",
    )
    return DesignSpace(
        name=name,
        skeleton=skeleton,
        depths=(2, 3, 4),
        expand_ratios=(3, 4, 6),
        compound=True,
        kernels=((3,),) * skeleton.unit_count,
        resolutions=resolutions,
    )


def _plain_units(channels: Sequence[int], strides: Sequence[Stride]) -> tuple[UnitSpec, ...]:
    return tuple(
        UnitSpec(out_channels=c, stride=stride, activation="relu6", se=False, kernel=3)
        for c, stride in zip(channels, strides, strict=True)
    )


def _last_block(channels: int) -> LastBlock:
    return LastBlock(out_channels=channels, expand_ratio=6, kernel=3, activation="relu6")


def _space(freedom: Freedom, *, skeleton: MobileNetSkeleton, **choices: Any) -> DesignSpace:
    stored = [unit.kernel for unit in skeleton.units]
    # CompOFA's kernels, or what is stored where that is less.
    fixed = [min(k, size) for k, size in zip(_KERNELS, stored, strict=True)]
    if freedom == "compound":
        choices["kernels"] = [(k,) for k in fixed]
    else:
        choices["kernels"] = [tuple(k for k in _ALL_KERNELS if k <= size) for size in stored]
        choices["representative_kernels"] = fixed
    return DesignSpace(
        skeleton=skeleton,
        depths=(2, 3, 4),
        expand_ratios=(3, 4, 6),
        compound=freedom != "elastic",
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


PRESETS: dict[str, Callable[[], DesignSpace]] = {
    **{
        f"imagenet-mbv3{name}{suffix}": partial(imagenet_mbv3, freedom, width)
        for freedom, name in _NAMES.items()
        for suffix, width in (("", 1.0), ("-w1.2", 1.2))
    },
    **{
        f"fashion-mnist-mbv3{name}": partial(fashion_mnist_mbv3, freedom)
        for freedom, name in _NAMES.items()
    },
    "imagenet-proxyless": imagenet_proxyless,
    "imagenet-proxyless-w1.3": partial(imagenet_proxyless, 1.3),
    "fashion-mnist-proxyless": fashion_mnist_proxyless,
    "words": words,
}


def design_space(name: str) -> DesignSpace:
    """The preset called `name`. Raises `ValueError` listing the presets there are."""
    if name not in PRESETS:
        raise ValueError(f"design space {name!r}: expected one of {', '.join(PRESETS)}")
    return PRESETS[name]()
