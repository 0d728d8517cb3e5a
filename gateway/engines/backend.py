"""What an engine needs of a runtime: programs compiled once, and runners that share them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gateway.engines.compile_cache import CompileCache
from supernet.skeleton import Inputs

if TYPE_CHECKING:
    from torch import nn

Array = NDArray[np.float32]
"""Of logits."""
ModelInputs = NDArray[np.float32] | NDArray[np.int64]
Values = Any
"""Values in a form of the runtime's own, handed from one runner to the next without a copy."""
Dtype = Literal["FP32", "INT64"]
"""Of what comes in; what goes out is FP32."""
MOST_IMAGES_ON_CPU = 8
"""A core is busy with eight; sixteen take twice as long and twice the memory
(benchmarks/serving/lanes.py)."""
Build = Callable[[], Sequence["nn.Module"]]
"""Makes the modules of a program; not called where it is compiled already."""


def zeros(inputs: Inputs, images: int, resolution: int) -> ModelInputs:
    """As many inputs of a net."""
    shape = (images, *inputs.shape(resolution))
    return np.zeros(shape, np.float32) if inputs.kind == "image" else np.zeros(shape, np.int64)


class Runner(Protocol):
    """A program with buffers of its own: for one thread at a time. What it returns is overwritten
    by its next run."""

    def __call__(self, x: Values, /) -> Values: ...


class Program(Protocol):
    """Modules, compiled. Safe to use from several threads."""

    def runner(self) -> Runner:
        """Shares the program's weights."""
        ...

    def release(self) -> None:
        """Give back memory that runs took and the next ones will take again, where some is kept."""
        ...


class Backend(Protocol):
    """A runtime. `cache` keeps what it compiles, where it can be kept. Runs have at most
    `most_images`: larger ones are no faster for each, and take the memory. Where it
    `learns_shapes`, the first run of a shape, by whichever runner, takes longer than later ones.
    Where it `maps_weights`, processes share what is in the cache."""

    name: str
    cache: CompileCache | None
    on_gpu: bool
    most_images: int
    learns_shapes: bool
    maps_weights: bool

    def compile(
        self, name: str, build: Build, shape: tuple[int, ...], dtype: Dtype = "FP32"
    ) -> Program:
        """`shape` is the input's, batch first, -1 for what differs from run to run. `name` is
        unique within an artifact. Raises `RuntimeError` where the runtime fails."""
        ...

    def keeps(self, name: str) -> bool:
        """Whether `compile` would find it in the cache."""
        ...

    def to_values(self, x: ModelInputs, /) -> Values:
        """Without a copy where it can; `x` is C-contiguous."""
        ...

    def to_array(self, values: Values, /) -> Array:
        """A copy, which later runs leave alone."""
        ...
