"""Public Once-for-All and CompOFA checkpoints in: a file of theirs becomes a `Supernet`.

Read are MobileNetV3 supernets of any width, and subnets that were cut from one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from pydantic import ValidationError
from torch import Tensor

from supernet.architecture import Architecture
from supernet.design_space import DesignSpace
from supernet.mobilenet import Kernel
from supernet.model import Supernet
from supernet.normalization import SharedStatistics
from supernet.normalization_shapes import normalization_shapes
from supernet.ofa_names import OfaNames
from supernet.presets import Freedom, imagenet_mbv3
from supernet.state_dict import read_state_dict
from supernet.validation import differences, first_error

RESOLUTION = 224  # of a subnet, where nothing is said
_UNITS, _DEPTH = 5, 4  # what a supernet stores
_MATRIX = re.compile(r"\d+to\d+_matrix$")
State = Mapping[str, Tensor]


class CheckpointError(ValueError):
    """A checkpoint that cannot be imported; the message is one line for the user."""


def import_ofa(
    path: Path, freedom: Freedom | None = None, resolution: int | None = None
) -> Supernet:
    """The net in a public checkpoint, with its running statistics as `SharedStatistics`.

    `freedom` says which subnets to offer; by itself a net with kernel transforms gets the fully
    elastic space, one without them CompOFA's with fixed kernels. The checkpoint of a single
    subnet becomes a narrowed net at `resolution`, which such a file does not tell. Raises
    `ValueError` in one line that lists every missing, unexpected or misshapen key.
    """
    found = read_state_dict("checkpoint", path)
    names = OfaNames.of(found)
    if names is None:
        some = ", ".join(list(found)[:3]) or "nothing"
        raise CheckpointError(f"checkpoint {path}: is no MobileNetV3 supernet: it holds {some}")
    try:
        if names.doubled:
            space = _supernet_space(found, names, freedom, resolution)
        else:
            space = _subnet_space(
                found, names, freedom, RESOLUTION if resolution is None else resolution
            )
    except ValidationError as error:
        raise CheckpointError(f"checkpoint {path}: {first_error(error)}") from None
    except ValueError as error:
        raise CheckpointError(f"checkpoint {path}: {error}") from None
    return _load(path, Supernet(space), names.of_space(space), found)


def _load(path: Path, supernet: Supernet, names: Mapping[str, str], found: State) -> Supernet:
    """`supernet` with the tensors in `found`, where they are just those of `names`."""
    shapes = {name: tuple(tensor.shape) for name, tensor in supernet.state_dict().items()}
    shapes |= normalization_shapes("shared-statistics", supernet.space, ())
    problems = differences({theirs: shapes[ours] for ours, theirs in names.items()}, found)
    problems += [f"{key} is not finite" for key in found if not found[key].isfinite().all()]
    problems += [
        f"{key} is negative"
        for key in found
        if key.endswith("running_var") and (found[key] < 0).any()
    ]
    if problems:
        raise CheckpointError(f"checkpoint {path}: {'; '.join(problems)}")
    tensors = {ours: found[theirs] for ours, theirs in names.items()}
    statistics = SharedStatistics()
    statistics.load({name: tensor.clone() for name, tensor in tensors.items() if "|" in name})
    supernet.load_state_dict({k: tensor for k, tensor in tensors.items() if "|" not in k})
    supernet.normalization = statistics
    return supernet.eval().requires_grad_(False)


def _supernet_space(
    found: State, names: OfaNames, freedom: Freedom | None, resolution: int | None
) -> DesignSpace:
    """The design space of a supernet, from the shapes of its weights."""
    if resolution is not None:
        raise ValueError(f"is a supernet, for many resolutions; {resolution} is for a subnet")
    transforms = any(_MATRIX.search(key) for key in found)
    return imagenet_mbv3(
        freedom or ("elastic" if transforms else "compound"),
        _width(found),
        classes=_classes(found),
        kernels=[_kernel(found, names, 1 + unit * _DEPTH) for unit in range(_UNITS)],
        kernel_transform=transforms,
    )


def _subnet_space(
    found: State, names: OfaNames, freedom: Freedom | None, resolution: int
) -> DesignSpace:
    """The space narrowed to the one subnet whose weights these are."""
    space = imagenet_mbv3(freedom or "elastic", _width(found), classes=_classes(found))
    space = space.model_copy(update={"resolutions": (resolution,)})
    depths, kernels, ratios = _subnet_choices(found, names)
    arch = Architecture(
        depths,
        resolution,
        kernels if space.elastic_kernels else (),
        () if space.compound else ratios,
    )
    space.check(arch)
    implied = [(k, e) for v in space.variants(arch) for k, e in _pairs(v.kernels, v.expand_ratios)]
    if implied != _pairs(kernels, ratios):
        raise ValueError(f"its subnet is not of {space.name}: kernels {kernels}, ratios {ratios}")
    return space.narrowed(arch)


def _subnet_choices(
    found: State, names: OfaNames
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Depth of each unit, kernel and expand ratio of each block, from a subnet's shapes."""
    depths: list[int] = []
    kernels, ratios, block = [], [], 1
    while (key := names.weight(block, "expand")) in found:
        mid, inputs = _size(found, key, 0, 0), _size(found, key, 1, 1)
        if not depths or inputs != _size(found, names.weight(block, "project"), 0, inputs):
            depths.append(0)  # only the first block of a unit changes the number of channels
        depths[-1] += 1
        kernels.append(_kernel(found, names, block))
        ratios.append(round(mid / inputs))
        block += 1
    return tuple(depths), tuple(kernels), tuple(ratios)


def _pairs(kernels: tuple[int, ...], ratios: tuple[int, ...]) -> list[tuple[int, int]]:
    return list(zip(kernels, ratios, strict=True))


def _width(found: State) -> float:
    """The width multiplier, exact to the two digits that name one; 1 where nothing tells."""
    for layer, channels in (("feature_mix_layer", 1280), ("final_expand_layer", 960)):
        wide = _size(found, f"{layer}.conv.weight", 0, 0)
        if wide:
            return round(wide / channels, 2)
    return 1.0


def _classes(found: State) -> int:
    return _size(found, "classifier.linear.weight", 0, 1000)


def _kernel(found: State, names: OfaNames, block: int) -> Kernel:
    """The size a block's depthwise kernel is stored at; the largest where nothing tells."""
    size = _size(found, names.weight(block, "depthwise"), 3, 7)
    if size not in get_args(Kernel):
        raise ValueError(f"block {block} stores {size}x{size}; expected one of {get_args(Kernel)}")
    return size  # type: ignore[return-value]


def _size(found: State, key: str, dimension: int, otherwise: int) -> int:
    shape = found[key].shape if key in found else ()
    return shape[dimension] if dimension < len(shape) else otherwise
