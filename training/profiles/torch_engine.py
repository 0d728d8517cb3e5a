"""torch, as the gateway runs subnets: plain modules, channels last, one forward at a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from supernet.layers import channels_last, channels_last_images
from training.profiles.engines import Setting
from training.profiles.parts import Parts
from training.profiles.portable.machine import processor

if TYPE_CHECKING:
    from training.profiles.portable.plan import Net
    from training.profiles.portable.timing import Timer


class TorchEngine:
    """Takes `parts` to the setting's device and precision; chains share them.

    Sets torch's number of threads, which whoever opens it sets back.
    """

    name = f"torch {torch.__version__}"

    def __init__(self, parts: Parts, setting: Setting) -> None:
        if setting.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device 'cuda': torch finds none here")
        self.processor = torch.cuda.get_device_name() if setting.device == "cuda" else processor()
        torch.set_num_threads(setting.num_threads)
        self._parts, self._setting = parts, setting
        self._where = {"device": setting.device, "dtype": getattr(torch, setting.precision)}
        for module in parts.modules.values():
            channels_last(module.to(**self._where))

    def timer(self, net: Net) -> Timer:
        chain = nn.Sequential(*self._parts.chain(net[1]))
        x = self._parts.example(net, self._setting.batch_size).to(self._setting.device)
        if x.is_floating_point():
            x = x.to(self._where["dtype"])
        if x.ndim == 4:
            x = channels_last_images(x)
        return _on_cuda(chain, x) if x.is_cuda else _on_cpu(chain, x)


def _on_cpu(module: nn.Module, x: Tensor) -> Timer:
    def run() -> float:
        with torch.inference_mode():
            start = time.perf_counter()
            module(x)
            return (time.perf_counter() - start) * 1e3

    return run


def _on_cuda(module: nn.Module, x: Tensor) -> Timer:
    """By the GPU's own clock, from an idle GPU to the end of the last kernel: a call returns as
    soon as its kernels are queued."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]

    def run() -> float:
        with torch.inference_mode():
            torch.cuda.synchronize(x.device)  # nothing of an earlier run is left
            start.record()
            module(x)
            end.record()
            end.synchronize()
            return float(start.elapsed_time(end))

    return run


open_engine = TorchEngine
