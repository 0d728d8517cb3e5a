"""ONNX Runtime on CPUs: each run on one core, in its caller's thread.

All lanes share what is compiled, and one arena of buffers: nothing is kept for each segment, and a
shape that has not run before costs nothing. Weights are mapped from the cache: processes share
them too.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime as ort  # type: ignore[import-untyped]

from gateway.engines.backend import MOST_IMAGES_ON_CPU, Array, Build, Dtype, ModelInputs
from gateway.engines.compile_cache import DIGEST_BYTES, CompileCache
from gateway.engines.onnx_sessions import mapped_session, optimised_apart, session_of
from gateway.engines.processor import processor


@dataclass(frozen=True, slots=True)
class OnnxRuntimeProgram:
    """A session keeps no state between runs, so that it is its own runner."""

    session: Any
    output: str

    def runner(self) -> OnnxRuntimeProgram:
        return self

    def release(self) -> None:
        """The arena is everybody's, and as large as the largest runs at once."""

    def __call__(self, x: ort.OrtValue) -> ort.OrtValue:
        (y,) = self.session.run_with_ort_values([self.output], {"input": x})
        return y


class OnnxRuntimeBackend:
    """What is built is kept in the folder `cache`, if given, as ONNX that is optimised for this
    processor: later processes then need neither torch nor the weights. A second core for a run
    would need a pool of threads for each session, or one that spins beside the event loop; cores
    run batches of their own instead (docs/scaling.md)."""

    name = "onnxruntime"
    on_gpu, learns_shapes = False, False
    most_images = MOST_IMAGES_ON_CPU

    def __init__(self, *, cache: Path | None = None) -> None:
        _share_buffers()
        made_for = (self.name, ort.__version__, processor(), "mapped")
        self.cache = CompileCache(cache, made_for) if cache else None
        self.maps_weights = self.cache is not None

    def compile(
        self, name: str, build: Build, shape: tuple[int, ...], dtype: Dtype = "FP32"
    ) -> OnnxRuntimeProgram:
        kept = self._kept(name)
        if kept is None:
            from gateway.engines.onnx_model import to_onnx  # needs torch

            model = to_onnx(build(), shape, dtype)
            self._keep(name, model)
            kept = self._kept(name)
        session = mapped_session(*kept) if kept else session_of(model)
        return OnnxRuntimeProgram(session, session.get_outputs()[0].name)

    def keeps(self, name: str) -> bool:
        return self._kept(name) is not None

    def _kept(self, name: str) -> tuple[bytes, Path] | None:
        """What the cache has: a model, and where its weights lie."""
        model = self.cache.read(name) if self.cache else None
        weights = self.cache.file(_weights_of(name)) if self.cache and model else None
        return (model, weights) if model and weights else None

    def _keep(self, name: str, model: bytes) -> None:
        """Where that can be: it costs time, not the start, where it cannot."""
        if self.cache is None:
            return
        weights = _weights_of(name)
        file_name = self.cache.path(weights).name
        try:
            with self.cache.scratch() as folder:
                optimised, data = optimised_apart(model, folder, file_name, DIGEST_BYTES)
        except OSError as error:
            self.cache.complain(error.strerror)
            return
        except Exception as error:  # the runtime's own, which names a line of its source
            self.cache.complain(f"it cannot be written, is there room? ({type(error).__name__})")
            return
        if self.cache.write(weights, data):
            self.cache.write(name, optimised)

    def to_values(self, x: ModelInputs) -> ort.OrtValue:
        return ort.OrtValue.ortvalue_from_numpy(x)  # in the same memory

    def to_array(self, values: ort.OrtValue) -> Array:
        array: Array = values.numpy()  # keeps the memory, which no other run writes to
        return array


@functools.cache
def _share_buffers() -> None:
    """One arena for all sessions: each would keep one of its own, as large as its largest run."""
    arena, usual = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, ort.OrtMemType.DEFAULT
    ort.create_and_register_allocator(ort.OrtMemoryInfo("Cpu", arena, 0, usual), None)


def _weights_of(name: str) -> str:
    return f"{name} weights"
