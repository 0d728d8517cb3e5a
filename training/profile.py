"""Measures how long subnets take on this machine's CPU, one image at a time."""

from __future__ import annotations

import itertools
import math
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from supernet.architecture import Architecture
from supernet.artifact import Artifact
from supernet.extract import extract
from supernet.latency import LatencyTable
from supernet.layers import channels_last

_WARM_UP_LIMIT = 30
_STEADY = 0.10


@dataclass(frozen=True, slots=True)
class Timing:
    """Median and 95th percentile of `runs` forward passes, in milliseconds."""

    median_ms: float
    p95_ms: float
    runs: int


def measure(module: nn.Module, x: torch.Tensor, runs: int) -> Timing:
    """Time `module(x)` after warming up until two medians of five agree within a tenth."""
    with torch.inference_mode():
        _warm_up(lambda: module(x))
        times = sorted(_timed(lambda: module(x)) for _ in range(runs))
    return Timing(statistics.median(times), times[math.ceil(0.95 * runs) - 1], runs)


def profile(
    artifact: Artifact,
    device_class: str,
    *,
    num_threads: int,
    runs: int = 20,
    default_budget_ms: float | None = None,
    archs: Iterable[Architecture] | None = None,
    advance: Callable[[int], None] | None = None,
) -> LatencyTable:
    """A latency table of this CPU: each subnet extracted and timed at batch 1.

    Subnets take turns in a fixed shuffled order, so that a slow minute of the machine does not
    fall on one kind of subnet. Threads and processor are named in the table's conditions.
    """
    torch.set_num_threads(num_threads)
    space = artifact.supernet.space
    timings = {}
    for arch in _interleaved(list(archs if archs is not None else space.enumerate())):
        timings[arch.id] = _measure_subnet(artifact, arch, runs)
        if advance is not None:
            advance(1)
    return LatencyTable(
        device_class=device_class,
        artifact_hash=artifact.manifest.artifact_hash,
        source=f"measured: {processor()}, {num_threads} threads, torch",
        measured=True,
        latency_ms={subnet: round(t.median_ms, 4) for subnet, t in sorted(timings.items())},
        p95_ms={subnet: round(t.p95_ms, 4) for subnet, t in sorted(timings.items())},
        default_budget_ms=default_budget_ms,
        conditions={
            "processor": processor(),
            "threads": str(num_threads),
            "engine": f"torch {torch.__version__}",
            "batch_size": "1",
            "runs": str(runs),
        },
    )


def _measure_subnet(artifact: Artifact, arch: Architecture, runs: int) -> Timing:
    """Time `arch`, extracted as the gateway does it, on one image."""
    channels = artifact.supernet.space.skeleton.in_channels
    x = torch.zeros(1, channels, arch.resolution, arch.resolution)
    module = channels_last(extract(artifact.supernet, arch))
    return measure(module, x.contiguous(memory_format=torch.channels_last), runs)


def processor() -> str:
    """The processor's name as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _interleaved(archs: list[Architecture]) -> Iterator[Architecture]:
    """All of `archs`, far neighbours after one another: a stride coprime to their number."""
    stride = next(s for s in itertools.count(37) if math.gcd(s, len(archs)) == 1)
    return (archs[i * stride % len(archs)] for i in range(len(archs)))


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def _warm_up(call: Callable[[], object]) -> None:
    before = float("inf")
    for _ in range(0, _WARM_UP_LIMIT, 5):
        now = statistics.median(_timed(call) for _ in range(5))
        if abs(before - now) <= _STEADY * now:
            return
        before = now
