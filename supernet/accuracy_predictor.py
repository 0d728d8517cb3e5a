"""Once-for-All's accuracy predictor: ImageNet top-1 of a subnet from its description alone.

A small regression net that its authors trained on measured subnets (Cai et al., ICLR 2020,
section 3.4). Good to fill a catalog where there are no images to measure on, and to search a
space too large to list; never a measurement. Predicting needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from supernet.architecture import Architecture
from supernet.design_space import DesignSpace
from supernet.manifest import ArtifactError, Manifest, read_part
from supernet.population import Integers, Population
from supernet.validation import differences

PREDICTOR_FILE = "accuracy_predictor.safetensors"
TRAINED_RESOLUTIONS = (160, 176, 192, 208, 224)
"""Where the published predictor was trained, as its authors search. The inputs for 112 to 144
still are within what their initialiser drew, and it puts 128 above 160."""

_UNITS, _SLOTS = 5, 4  # slots past a unit's depth stay empty
_KERNELS = (3, 5, 7)
_EXPAND_RATIOS = (3, 4, 6)
_RESOLUTIONS = tuple(range(112, 225, 16))
_WIDTHS = (2 * _UNITS * _SLOTS * 3 + len(_RESOLUTIONS), 400, 400, 400, 1)
_SHAPES: dict[str, tuple[int, ...]] = {
    name: shape
    for layer, (inputs, outputs) in enumerate(pairwise(_WIDTHS))
    for name, shape in (
        (f"{2 * layer}.weight", (outputs, inputs)),
        (f"{2 * layer}.bias", (outputs,)),
    )
}

Float32 = NDArray[np.float32]


class AccuracyPredictor:
    """Predicts for architectures of any space with five units of at most four blocks.

    `tensors` are those of the published net: four linear layers with ReLU between them.
    """

    def __init__(self, tensors: Mapping[str, Float32]) -> None:
        """Raises `ValueError` listing what is not as expected."""
        problems = differences(_SHAPES, tensors)
        if problems:
            raise ValueError("; ".join(problems))
        self.tensors = {name: np.ascontiguousarray(tensors[name], np.float32) for name in _SHAPES}

    @classmethod
    def read(cls, path: Path) -> AccuracyPredictor:
        """The one whose state-dict `torch.save` put in a file. Raises `ValueError`, one line."""
        from supernet.state_dict import read_state_dict

        state = read_state_dict("accuracy predictor", path)
        try:
            return cls({name: tensor.numpy() for name, tensor in state.items()})
        except ValueError as error:
            raise ValueError(f"accuracy predictor {path}: {error}") from None

    def __call__(self, population: Population) -> Float32:
        """Top-1 accuracy [N], in [0, 1]. Raises `ValueError` naming an architecture that cannot
        be encoded, or whose prediction is out of range."""
        x = encode(population)
        for layer in range(0, 2 * len(_WIDTHS) - 2, 2):
            if layer:
                np.maximum(x, 0, out=x)
            x = x @ self.tensors[f"{layer}.weight"].T
            x += self.tensors[f"{layer}.bias"]
        found: Float32 = x[:, 0]
        wrong = np.flatnonzero(~((found >= 0) & (found <= 1)))
        if wrong.size:
            subnet, value = population.architecture(wrong[0]).id, found[wrong[0]]
            raise ValueError(f"subnet {subnet}: predicted accuracy {value:g} not in [0, 1]")
        return found

    def predict(self, space: DesignSpace, archs: Sequence[Architecture]) -> list[float]:
        """The same for architectures of `space`."""
        found: list[float] = self(Population.of(space, archs)).tolist()
        return found

    def to_bytes(self) -> bytes:
        """The content of an artifact's `PREDICTOR_FILE`."""
        return safetensors.numpy.save(self.tensors)


def read_predictor(folder: Path, manifest: Manifest) -> AccuracyPredictor | None:
    """The predictor that an artifact keeps; None where it has none. Raises `ArtifactError`."""
    if manifest.predictor_sha256 is None:
        return None
    data = read_part(folder, PREDICTOR_FILE, manifest.predictor_sha256)
    try:
        return AccuracyPredictor(safetensors.numpy.load(data))
    except (SafetensorError, ValueError) as error:
        raise ArtifactError(f"artifact {folder}: {PREDICTOR_FILE}: {error}") from None


def encode(population: Population) -> Float32:
    """What the predictor sees [N, 128]: kernels, expand ratios and resolution, each one-hot.

    Raises `ValueError` naming an architecture with a choice that has no place in it.
    """
    if population.depths.shape[1] != _UNITS or population.depths.max(initial=0) > _SLOTS:
        raise ValueError(
            f"design space {population.space.name!r}: the accuracy predictor knows {_UNITS} units "
            f"of at most {_SLOTS} blocks"
        )
    parts = [
        _one_hot(population, "kernel", population.kernels, _KERNELS),
        _one_hot(population, "ratio", population.expand_ratios, _EXPAND_RATIOS),
        _one_hot(population, "resolution", population.resolutions[:, None, None], _RESOLUTIONS),
    ]
    return np.concatenate(parts, axis=1)


def _one_hot(
    population: Population, what: str, values: Integers, known: tuple[int, ...]
) -> Float32:
    """One row of `known` a value [N, .], flattened; a unit's rows are filled up to four slots."""
    code = values[..., None] == np.array(known)
    unknown = np.argwhere(code.any(-1) != (values > 0))
    if unknown.size:
        subnet = population.architecture(unknown[0, 0]).id
        value = values[tuple(unknown[0])]
        raise ValueError(
            f"subnet {subnet}: the accuracy predictor knows no {what} {value}, only {known}"
        )
    if what != "resolution" and code.shape[2] < _SLOTS:
        code = np.pad(code, ((0, 0), (0, 0), (0, _SLOTS - code.shape[2]), (0, 0)))
    rows: Float32 = code.reshape(len(population), math.prod(code.shape[1:])).astype(np.float32)
    return rows
