"""torch, on a GPU or where nothing faster is installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gateway.engines.backend import MOST_IMAGES_ON_CPU, Array, Build, Dtype, ModelInputs, Runner
from gateway.engines.compile_cache import CompileCache
from gateway.engines.cuda_graphs import Capture, GraphedRunner, capture
from supernet.layers import channels_last, channels_last_images

MOST_IMAGES_ON_GPU = 32


@dataclass(frozen=True, slots=True)
class TorchProgram:
    """Modules as they are. They keep no state, so that without graphs they are their own runner."""

    module: nn.Module
    capture: Capture | None = None

    def runner(self) -> Runner:
        return self if self.capture is None else GraphedRunner(self.module, self.capture)

    def release(self) -> None:
        """torch gives back itself what it needs again elsewhere."""

    def __call__(self, x: Tensor) -> Tensor:
        with torch.inference_mode():
            y: Tensor = self.module(x)
        return y


class TorchBackend:
    """Convolutions in channels-last. `device` is torch's name of one: cpu, cuda, cuda:1.

    With `threads` a forward on the CPU takes so many; it is a setting of the whole process. On a
    GPU small batches run by CUDA graphs. Raises `ValueError` for a device that is not there.
    """

    name = "torch"
    cache: CompileCache | None = None
    learns_shapes = maps_weights = False

    def __init__(
        self, *, device: str = "cpu", threads: int | None = None, dtype: torch.dtype = torch.float32
    ) -> None:
        self._device, self._dtype = _existing(device), dtype
        self.on_gpu = self._device.type == "cuda"
        self.most_images = MOST_IMAGES_ON_GPU if self.on_gpu else MOST_IMAGES_ON_CPU
        self._capture = capture if self.on_gpu else None
        if threads is not None:
            torch.set_num_threads(threads)

    def compile(
        self, _name: str, build: Build, _shape: tuple[int, ...], _dtype: Dtype = "FP32"
    ) -> TorchProgram:
        with _as_runtime_errors():
            module = channels_last(nn.Sequential(*build())).eval().to(self._device, self._dtype)
        return TorchProgram(module, self._capture)

    def keeps(self, name: str) -> bool:  # noqa: ARG002
        return False

    def to_values(self, x: ModelInputs) -> Tensor:
        values = torch.from_numpy(x if x.flags.writeable else x.copy()).to(self._device)
        if values.is_floating_point():
            values = values.to(self._dtype)
        return channels_last_images(values) if values.ndim == 4 else values

    def to_array(self, values: Tensor) -> Array:
        """Waits for the device."""
        array: Array = values.float().cpu().numpy()
        return array


def gpu_is_there() -> bool:
    """Whether torch can use one."""
    return torch.cuda.is_available()


def _existing(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    count = torch.cuda.device_count() if gpu_is_there() else 0
    if device.type == "cpu" or (device.type == "cuda" and (device.index or 0) < count):
        return device
    there = ", ".join(["cpu", *(f"cuda:{i}" for i in range(count))])
    raise ValueError(f"device {name!r}: expected one that is there: {there}")


@contextmanager
def _as_runtime_errors() -> Iterator[None]:
    """A lack of memory has a type of its own for each kind."""
    try:
        yield
    except MemoryError as error:
        raise RuntimeError("out of memory") from error
