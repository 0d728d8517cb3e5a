"""torch, on a GPU or where nothing faster is installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gateway.engines.backend import Array, Build
from gateway.engines.compile_cache import CompileCache
from supernet.layers import channels_last, channels_last_images


@dataclass(frozen=True, slots=True)
class TorchProgram:
    """Modules as they are. They keep no state, so that they are their own runner."""

    module: nn.Module

    def runner(self) -> TorchProgram:
        return self

    def __call__(self, x: Tensor) -> Tensor:
        with torch.inference_mode():
            y: Tensor = self.module(x)
        return y


class TorchBackend:
    """Convolutions in channels-last. `device` is torch's name of one: cpu, cuda, cuda:1.

    With `threads` a forward on the CPU takes so many; it is a setting of the whole process.
    """

    name = "torch"
    cache: CompileCache | None = None

    def __init__(self, *, device: str = "cpu", threads: int | None = None) -> None:
        self._device = torch.device(device)
        if threads is not None:
            torch.set_num_threads(threads)

    def compile(self, _name: str, build: Build, _shape: tuple[int, ...]) -> TorchProgram:
        with _as_runtime_errors():
            module = channels_last(nn.Sequential(*build())).eval().to(self._device)
        return TorchProgram(module)

    def to_values(self, x: Array) -> Tensor:
        return channels_last_images(torch.from_numpy(x).to(self._device))

    def to_array(self, values: Tensor) -> Array:
        """Waits for the device."""
        array: Array = values.float().cpu().numpy()
        return array


@contextmanager
def _as_runtime_errors() -> Iterator[None]:
    """A lack of memory has a type of its own for each kind."""
    try:
        yield
    except MemoryError as error:
        raise RuntimeError("out of memory") from error
