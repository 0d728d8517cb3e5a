"""Runs subnets: extracted, folded torch modules, kept in memory under a bound.

Knows subnets by their id; which of them a request gets, and when, is decided elsewhere.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from gateway.request import Logits
from supernet.architecture import Architecture
from supernet.extract import extract
from supernet.layers import channels_last, channels_last_images
from supernet.model import Supernet

DEFAULT_MAX_RESIDENT_BYTES = 256 * 1024 * 1024
WARM_UP_RUNS = 3  # the first forwards of a new subnet are slower than those that follow


class Engine(Protocol):
    """What the pipeline needs of an engine. Safe to use from several threads."""

    @property
    def resident_bytes(self) -> int:
        """Memory held by subnets that are ready to run."""
        ...

    def run(self, subnet: str, x: Tensor) -> tuple[Logits, float]:
        """Logits [B, classes] of normalised images [B, C, R, R], and the milliseconds of the
        forward alone. Raises `ValueError` for a subnet that is not of the space."""
        ...

    def prepare(self, subnet: str) -> None:
        """Make a subnet ready to run ahead of its first request."""
        ...


@dataclass(frozen=True, slots=True)
class Resident:
    """A subnet that is ready to run, and the bytes of its weights."""

    module: nn.Module
    size_bytes: int


class TorchEngine:
    """Subnets as plain modules in channels-last, the least recently used given up first.

    At most `max_resident_bytes` of weights stay once they have run; a single subnet larger
    than that is kept alone. Threads that ask for the same subnet at once share one build.
    """

    def __init__(
        self,
        supernet: Supernet,
        *,
        max_resident_bytes: int = DEFAULT_MAX_RESIDENT_BYTES,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._supernet = supernet
        self._max_resident_bytes = max_resident_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._residents: OrderedDict[str, Future[Resident]] = OrderedDict()
        self._resident_bytes = 0

    @property
    def resident_bytes(self) -> int:
        return self._resident_bytes

    def run(self, subnet: str, x: Tensor) -> tuple[Logits, float]:
        module = self._resident(subnet).module
        started = self._clock()
        with torch.inference_mode():
            y = module(channels_last_images(x))
        return np.asarray(y.numpy(), np.float32), (self._clock() - started) * 1000

    def prepare(self, subnet: str) -> None:
        self._resident(subnet)

    def _resident(self, subnet: str) -> Resident:
        with self._lock:
            future = self._residents.get(subnet)
            builds = future is None
            if future is None:
                future = self._residents[subnet] = Future()
            self._residents.move_to_end(subnet)
        if builds:
            self._build(subnet, future)
        return future.result()

    def _build(self, subnet: str, future: Future[Resident]) -> None:
        try:
            resident = self._built(subnet)
        except BaseException as error:
            with self._lock:
                del self._residents[subnet]
            future.set_exception(error)
            return
        with self._lock:
            self._resident_bytes += resident.size_bytes
            future.set_result(resident)
            self._make_room(keep=subnet)

    def _built(self, subnet: str) -> Resident:
        arch = Architecture.parse(subnet)
        module = channels_last(extract(self._supernet, arch))
        channels = self._supernet.space.skeleton.in_channels
        x = torch.zeros(1, channels, arch.resolution, arch.resolution)
        with torch.inference_mode():
            for _ in range(WARM_UP_RUNS):
                module(x)
        size_bytes = sum(p.numel() * p.element_size() for p in module.parameters())
        return Resident(module, size_bytes)

    def _make_room(self, keep: str) -> None:
        for subnet, future in list(self._residents.items()):
            if self._resident_bytes <= self._max_resident_bytes:
                return
            if subnet != keep and future.done():
                self._resident_bytes -= future.result().size_bytes
                del self._residents[subnet]
