"""Which runtime is the fastest for a net on the cores that are there: tried once, then remembered.

None is the fastest everywhere: with one processor ONNX Runtime does a third more than OpenVINO,
with another less (docs/scaling.md).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
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
    kept in the folder `cache`, for this processor. A runtime that fails is left out, and tried
    again at the next start. Raises what the first raised where all fail."""
    kept = CompileCache(cache, _made_for(names, cores)) if cache else None
    known = kept.read("fastest") if kept else None
    for name in names:
        if known == name.encode():
            return name
    errors: dict[BackendName, Exception] = {}
    found = _tried(net, names, cores, errors)
    if kept and not errors:
        kept.write("fastest", found.encode())
    return found


def _made_for(names: Iterable[BackendName], cores: Cores) -> list[str]:
    each = [f"{name} {version(name)} {cores(name)}" for name in names]
    return ["fastest", processor(), *each]


def _tried(
    net: Net,
    names: Sequence[BackendName],
    cores: Cores,
    errors: dict[BackendName, Exception],
) -> BackendName:
    """Into `errors` goes what fails."""
    space = net.manifest.design_space
    taken_s = dict.fromkeys(names, 1.0)
    for arch in (space.smallest, space.largest):
        runs = {}
        for name in taken_s:
            with _noted(name, errors):
                runs[name] = _run(net, arch, name, *cores(name))
        shortest_s = _shortest_s(runs, errors)
        taken_s = {name: taken_s[name] * shortest_s[name] for name in shortest_s}
    if not taken_s:
        raise errors[names[0]]
    found = min(taken_s, key=taken_s.__getitem__)
    ratios = {name: round(math.sqrt(s / taken_s[found]), 2) for name, s in taken_s.items()}
    _LOG.debug("engine", extra={"fields": {"fastest": found, "times": ratios}})
    return found


@contextmanager
def _noted(name: BackendName, errors: dict[BackendName, Exception]) -> Iterator[None]:
    """What a runtime fails of, of whatever kind, with a line in the log."""
    try:
        yield
    except Exception as error:
        errors[name] = error
        _LOG.warning("engine %s: %s; it is left out", name, error)


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


def _shortest_s(
    runs: dict[BackendName, Callable[[], float]], errors: dict[BackendName, Exception]
) -> dict[BackendName, float]:
    """Of those that do not fail."""
    taken_s: dict[BackendName, list[float]] = {name: [] for name in runs}
    for _ in range(_ROUNDS):
        for name, run in runs.items():
            if name not in errors:
                with _noted(name, errors):
                    taken_s[name].append(run())
    return {name: min(times[1:]) for name, times in taken_s.items() if name not in errors}
