"""Which runtime is the fastest for a net on the cores that are there: tried once, then remembered.

None is the fastest everywhere: with one processor ONNX Runtime does a third more than OpenVINO,
with another less (docs/scaling.md).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.engines.backend import Backend, zeros
from gateway.engines.compile_cache import CompileCache
from gateway.engines.opening import BackendName, compile_whole, make_backend
from gateway.engines.processor import processor

if TYPE_CHECKING:
    from gateway.engines.net import Net
    from supernet.architecture import Architecture

_LOG = logging.getLogger(__name__)
_ROUNDS = 4  # the first warms up; of the others the shortest counts, which noise makes longer only
Cores = Callable[[BackendName], tuple[int, int]]
"""Of a runtime: cores for a run, and runs side by side."""


def fastest(
    net: Net, names: Sequence[BackendName], cores: Cores, cache: Path | None
) -> BackendName:
    """By the smallest and the largest subnet, every core busy with full batches. What was found is
    kept in the folder `cache`, for this processor. Raises `RuntimeError` where a runtime fails."""
    kept = CompileCache(cache, _made_for(names, cores)) if cache else None
    known = kept.read("fastest") if kept else None
    for name in names:
        if known == name.encode():
            return name
    found = _tried(net, names, cores)
    if kept:
        kept.write("fastest", found.encode())
    return found


def _made_for(names: Iterable[BackendName], cores: Cores) -> list[str]:
    each = [f"{name} {version(name)} {cores(name)}" for name in names]
    return ["fastest", processor(), *each]


def _tried(net: Net, names: Sequence[BackendName], cores: Cores) -> BackendName:
    space = net.manifest.design_space
    taken_s = dict.fromkeys(names, 1.0)
    for arch in (space.smallest, space.largest):
        runs = {name: _run(net, arch, name, *cores(name)) for name in names}
        for name, shortest_s in _shortest_s(runs).items():
            taken_s[name] *= shortest_s
    found = min(taken_s, key=taken_s.__getitem__)
    ratios = {name: round(math.sqrt(s / taken_s[found]), 2) for name, s in taken_s.items()}
    _LOG.debug("engine", extra={"fields": {"fastest": found, "times": ratios}})
    return found


def _run(
    net: Net, arch: Architecture, name: BackendName, threads: int, lanes: int
) -> Callable[[], float]:
    """What a full batch takes, for each lane, when all run at once; in seconds."""
    backend: Backend = make_backend(name, threads=threads, lanes=lanes, device="cpu")
    program = compile_whole(net, backend, arch)
    runners = [program.runner() for _ in range(lanes)]
    x = zeros(net.manifest.design_space.skeleton.inputs, backend.most_images, arch.resolution)

    def all_at_once() -> float:
        inputs = [backend.to_values(x.copy()) for _ in runners]
        with ThreadPoolExecutor(lanes) as pool:
            began = time.perf_counter()
            # What a run raises is raised here: a runtime that fails must not look fast.
            for _ in pool.map(lambda runner, values: runner(values), runners, inputs):
                pass
            return (time.perf_counter() - began) / lanes

    return all_at_once


def _shortest_s(runs: dict[BackendName, Callable[[], float]]) -> dict[BackendName, float]:
    taken_s: dict[BackendName, list[float]] = {name: [] for name in runs}
    for _ in range(_ROUNDS):
        for name, run in runs.items():
            taken_s[name].append(run())
    return {name: min(times[1:]) for name, times in taken_s.items()}
