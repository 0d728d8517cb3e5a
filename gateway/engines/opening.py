"""A runtime by its name, and the engine that runs a net by it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gateway.engines.backend import Backend, Program, zeros
from gateway.engines.chain_programs import ChainPrograms
from gateway.engines.costs import FEW, MANY, RUNS, Costs, CostsByMacs, Line, measure
from gateway.engines.engine import Engine, Lane
from gateway.engines.net import Net
from gateway.engines.segments import segments
from gateway.engines.usage import Usage
from gateway.engines.whole_subnets import WholeSubnets
from supernet.architecture import Architecture
from supernet.complexity import complexity, piece_parameters
from supernet.design_space import DesignSpace

if TYPE_CHECKING:
    from gateway.engines.openvino_backend import Precision

CompileAside = Callable[[Architecture], None]
"""Leaves a subnet, compiled, in the backend's cache. Raises `RuntimeError` where it cannot."""
BackendName = Literal["onnxruntime", "openvino", "torch"]
BYTES_PER_PARAMETER = 4
_NVIDIA = Path("/dev/nvidiactl")
_MODULES: dict[BackendName, tuple[str, ...]] = {
    "onnxruntime": ("onnx", "onnxruntime"),
    "openvino": ("openvino",),
}


def cpus() -> int:
    """How many this process may use: its affinity, and a container's quota (cgroup v2)."""
    count = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return count if quota == "max" else max(1, min(count, int(quota) // int(period)))
    except (OSError, ValueError):
        return count


def best_device() -> str:
    """A GPU where torch can use one. Asking imports torch, so it is not asked without a driver."""
    if not _NVIDIA.exists():
        return "cpu"
    from gateway.engines.torch_backend import gpu_is_there

    return "cuda" if gpu_is_there() else "cpu"


def make_backend(
    name: BackendName,
    *,
    threads: int = 1,
    lanes: int = 1,
    precision: Precision = "f32",
    device: str | None = None,
    cache: Path | None = None,
) -> Backend:
    """For `threads` cores a run, and `lanes` runs side by side. torch runs on a GPU that is there
    unless `device` says otherwise. Raises `ValueError` for what is not there, or cannot do what is
    asked."""
    if name == "torch":
        return _torch(threads, precision, device or best_device())
    if device not in (None, "cpu"):
        raise ValueError(f"device {device!r}: expected 'cpu' with the engine {name!r}")
    if name not in installed():
        raise ValueError(f"engine {name!r}: it is not installed; install the extra {name!r}")
    if name == "openvino":
        from gateway.engines.openvino_backend import OpenvinoBackend

        return OpenvinoBackend(threads=threads, lanes=lanes, precision=precision, cache=cache)
    for field, value, expected in (("precision", precision, "f32"), ("threads", threads, 1)):
        if value != expected:
            raise ValueError(f"{field} {value!r}: expected {expected!r} with the engine {name!r}")
    from gateway.engines.onnxruntime_backend import OnnxRuntimeBackend

    return OnnxRuntimeBackend(cache=cache)


def installed() -> list[BackendName]:
    """Runtimes for CPUs that are there, besides torch."""
    return [name for name, modules in _MODULES.items() if all(map(find_spec, modules))]


def _torch(threads: int, precision: Precision, device: str) -> Backend:
    if precision != "f32" and device == "cpu":
        raise ValueError(f"precision {precision!r}: expected 'f32' with the engine 'torch'")
    import torch

    from gateway.engines.torch_backend import TorchBackend

    dtype = torch.float32 if precision == "f32" else torch.bfloat16
    return TorchBackend(device=device, threads=threads, dtype=dtype)


def make_engine(
    net: Net, backend: Backend, max_whole_bytes: int, compile_aside: CompileAside | None = None
) -> Engine:
    """Ready to run: every subnet of a folded net, none yet of another. `compile_aside` is asked
    first for what would have to load the net."""
    space, usage = net.manifest.design_space, Usage()

    def compiled(arch: Architecture) -> Program:
        if compile_aside and backend.cache and not (net.is_loaded or backend.keeps(arch.id)):
            compile_aside(arch)
        program = compile_whole(net, backend, arch)
        # Its first run builds it, which takes up to a tenth of a second: not that of a request.
        program.runner()(backend.to_values(zeros(space.skeleton.inputs, 1, arch.resolution)))
        return program

    whole = WholeSubnets(compiled, functools.partial(whole_bytes, space), usage, max_whole_bytes)
    chain = ChainPrograms(space, backend, net.pieces) if net.has_pieces else None
    if chain is None:
        net.keep()  # each subnet is compiled when it first runs, and has no other way to
    net.release()
    return Engine(backend, whole, usage, chain, chain_bytes=_chain_bytes(space) if chain else 0)


def whole_bytes(space: DesignSpace, arch: Architecture) -> int:
    """Of a subnet's weights."""
    return BYTES_PER_PARAMETER * complexity(space, arch).parameters


def compile_whole(net: Net, backend: Backend, arch: Architecture) -> Program:
    """Raises `RuntimeError` where the runtime fails."""
    inputs = net.manifest.design_space.skeleton.inputs
    shape = (-1, *inputs.shape(arch.resolution))
    return backend.compile(arch.id, lambda: [net.subnet(arch)], shape, inputs.dtype)


def _chain_bytes(space: DesignSpace) -> int:
    """Of the weights of all segments: those of a piece count once for each it is part of."""
    parameters = piece_parameters(space)
    pieces = (piece for segment in segments(space) for piece in segment.pieces)
    return BYTES_PER_PARAMETER * sum(parameters[piece] for piece in pieces)


def measured_costs(engine: Engine, space: DesignSpace) -> Costs | CostsByMacs:
    """What runs cost here: as measured now, or as kept from an earlier start."""
    if engine.chain is None:
        lane = engine.lane()
        return CostsByMacs(
            space, {a: _line(lane, space, a) for a in (space.smallest, space.largest)}
        )
    kept = engine.backend.cache.read("costs") if engine.backend.cache else None
    if kept is not None:
        return Costs.from_json(space, kept)
    costs = measure(space, engine.backend, engine.chain.runners())
    if engine.backend.cache:
        engine.backend.cache.write("costs", costs.to_json())
    return costs


def _line(lane: Lane, space: DesignSpace, arch: Architecture) -> Line:
    taken = []
    for images in (FEW, MANY):
        x = zeros(space.skeleton.inputs, images, arch.resolution)
        taken.append(min(lane.run(arch, x).compute_ms for _ in range(RUNS[images])))
    return Line.through(*taken)
