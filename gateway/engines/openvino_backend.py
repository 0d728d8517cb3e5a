"""OpenVINO on CPUs: the fastest of the runtimes that were compared on x86."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import openvino as ov  # type: ignore[import-untyped]

from gateway.engines.backend import MOST_IMAGES_ON_CPU, Array, Build, Dtype, ModelInputs
from gateway.engines.compile_cache import CompileCache

Precision = Literal["f32", "bf16"]
_DEVICE = "CPU"


@dataclass(frozen=True, slots=True)
class OpenvinoRunner:
    """An infer request: the output stays in its buffer, and is the next one's input."""

    request: Any

    def __call__(self, x: ov.Tensor) -> ov.Tensor:
        self.request.set_input_tensor(x)
        self.request.infer()
        return self.request.get_output_tensor()


@dataclass(frozen=True, slots=True)
class OpenvinoProgram:
    compiled: ov.CompiledModel

    def runner(self) -> OpenvinoRunner:
        return OpenvinoRunner(self.compiled.create_infer_request())

    def release(self) -> None:
        self.compiled.release_memory()


class OpenvinoBackend:
    """Compiles for `threads` cores a run and `lanes` runs side by side: more would wait for one
    another. Two lanes of a core each do no more in batches than one of two, at twice the latency
    (benchmarks/serving/lanes.py). What is compiled is kept in the folder `cache`, if given, one for
    each artifact, and read from there by later processes, which then need neither torch nor the
    weights."""

    name = "openvino"
    on_gpu, learns_shapes, maps_weights = False, True, False
    most_images = MOST_IMAGES_ON_CPU

    def __init__(
        self,
        *,
        threads: int = 1,
        lanes: int = 1,
        precision: Precision = "f32",
        cache: Path | None = None,
    ) -> None:
        self._core = _core()
        self._settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads * lanes,
            "NUM_STREAMS": lanes,
            "PERFORMANCE_HINT": "LATENCY",
            # Pinned, every process of a machine runs on its first cores.
            "ENABLE_CPU_PINNING": False,
        }
        processor = self._core.get_property(_DEVICE, "FULL_DEVICE_NAME")
        made_for = (ov.get_version(), processor, *map(str, self._settings.values()))
        self.cache = CompileCache(cache, made_for) if cache else None

    def compile(
        self, name: str, build: Build, shape: tuple[int, ...], dtype: Dtype = "FP32"
    ) -> OpenvinoProgram:
        blob = self.cache.read(name) if self.cache else None
        if blob is not None:
            return OpenvinoProgram(self._core.import_model(blob, _DEVICE, self._settings))
        from gateway.engines.openvino_graph import to_model  # needs torch

        model = to_model(build(), list(shape), name, dtype)
        compiled = self._core.compile_model(model, _DEVICE, self._settings)
        if self.cache:
            self.cache.write(name, compiled.export_model().getvalue())
        return OpenvinoProgram(compiled)

    def keeps(self, name: str) -> bool:
        return self.cache is not None and self.cache.read(name) is not None

    def to_values(self, x: ModelInputs) -> ov.Tensor:
        return ov.Tensor(x, shared_memory=x.flags.writeable)  # it refuses what it could not write

    def to_array(self, values: ov.Tensor) -> Array:
        return np.array(values.data)


@functools.cache
def _core() -> ov.Core:
    """One that stays, for all of a process. Each gives its thread a stack for signals, and of two
    the second to go puts back the first one's, freed by then: the next signal ends the process."""
    return ov.Core()
