"""Once-for-All's accuracy predictor: ImageNet top-1 of a subnet from its description alone.

A small regression net that its authors trained on measured subnets (Cai et al., ICLR 2020,
section 3.4). Good to fill a catalog where there are no images to measure on; never a
measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from supernet.architecture import Architecture
from supernet.design_space import DesignSpace
from supernet.state_dict import differences, read_state_dict

_UNITS, _SLOTS = 5, 4  # slots past a unit's depth stay empty
_KERNELS = (3, 5, 7)
_EXPAND_RATIOS = (3, 4, 6)
_RESOLUTIONS = tuple(range(112, 225, 16))
TRAINED_RESOLUTIONS = (160, 176, 192, 208, 224)
"""Where the published predictor was trained, as its authors search. The inputs for 112 to 144
still are within what their initialiser drew, and it puts 128 above 160."""

_WIDTHS = (2 * _UNITS * _SLOTS * 3 + len(_RESOLUTIONS), 400, 400, 400, 1)
_Choices = tuple[int, ...]


class AccuracyPredictor:
    """Predicts for architectures of any space with five units of at most four blocks."""

    def __init__(self, path: Path) -> None:
        """Read the state-dict in a file; `ValueError` listing what is not as expected."""
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(_WIDTHS):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        self._net = nn.Sequential(*layers[:-1]).requires_grad_(False)
        state = read_state_dict("accuracy predictor", path)
        shapes = {name: tuple(tensor.shape) for name, tensor in self._net.state_dict().items()}
        problems = differences(shapes, state)
        if problems:
            raise ValueError(f"accuracy predictor {path}: {'; '.join(problems)}")
        self._net.load_state_dict(state)

    def predict(self, space: DesignSpace, archs: Sequence[Architecture]) -> list[float]:
        """Top-1 accuracy in [0, 1] of each architecture of `space`.

        Raises `ValueError` for one that cannot be encoded, and for a prediction out of range.
        """
        if not archs:
            return []
        codes = torch.stack([encode(space, arch) for arch in archs])
        found: list[float] = self._net(codes).flatten().tolist()
        for arch, accuracy in zip(archs, found, strict=True):
            if not 0.0 <= accuracy <= 1.0:
                raise ValueError(f"subnet {arch.id}: predicted accuracy {accuracy:g} not in [0, 1]")
        return found


def encode(space: DesignSpace, arch: Architecture) -> Tensor:
    """What the predictor sees of `arch` [128]: kernels, expand ratios, resolution, one-hot.

    Raises `ValueError` where a choice has no place in it.
    """
    space.check(arch)
    variants = space.variants(arch)
    if len(variants) != _UNITS or max(arch.depths) > _SLOTS:
        raise ValueError(
            f"subnet {arch.id}: the accuracy predictor knows {_UNITS} units of at most {_SLOTS} "
            "blocks"
        )
    parts = [_one_hot(arch, "kernel", v.kernels, _KERNELS) for v in variants]
    parts += [_one_hot(arch, "ratio", v.expand_ratios, _EXPAND_RATIOS) for v in variants]
    return torch.cat([*parts, _one_hot(arch, "resolution", (arch.resolution,), _RESOLUTIONS)])


def _one_hot(arch: Architecture, what: str, values: _Choices, known: _Choices) -> Tensor:
    """One row of `known` a value, flattened; a unit's rows are filled up to its four slots."""
    rows = 1 if what == "resolution" else _SLOTS
    code = torch.zeros(rows, len(known))
    for row, value in enumerate(values):
        if value not in known:
            raise ValueError(
                f"subnet {arch.id}: the accuracy predictor knows no {what} {value}, only {known}"
            )
        code[row, known.index(value)] = 1.0
    return code.flatten()
