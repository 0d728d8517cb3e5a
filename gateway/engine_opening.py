"""The engine that a configuration names: what it leaves open decided, and ready to run."""

from __future__ import annotations

from pathlib import Path

import platformdirs

from gateway.compiling import CompileAside
from gateway.config import ServerConfig
from gateway.engines.backend import Backend
from gateway.engines.choice import fastest
from gateway.engines.costs import Costs, CostsByMacs
from gateway.engines.engine import Engine
from gateway.engines.net import Net
from gateway.engines.opening import (
    BackendName,
    best_device,
    cpus,
    installed,
    make_backend,
    make_engine,
    measured_costs,
)
from gateway.engines.residency import Residency
from gateway.engines.warm_up import WarmUp
from gateway.scheduling.dispatcher import Limits
from supernet.architecture import Architecture
from supernet.manifest import Manifest

_WORKERS_OF_GPU = 2  # one prepares a batch while the other's runs
_QUIET_S = 0.2  # between one request and the next of a busy client is no idleness
_MOST_THREADS = 2  # for a batch: a second core nearly halves a run, and so each deadline's risk


def settled(config: ServerConfig, net: Net) -> ServerConfig:
    """With engine, threads and workers decided where `config` leaves them open. Raises
    `ValueError`."""
    engine = config.engine if config.engine != "auto" else _best_engine(config, net)
    threads, workers = _cores(config, engine)
    return config.model_copy(update={"engine": engine, "threads": threads, "workers": workers})


def _best_engine(config: ServerConfig, net: Net) -> BackendName:
    """torch on a GPU that is there; on a CPU the fastest that is installed and does what is
    asked."""
    if (config.device or best_device()) != "cpu":
        return "torch"
    names = installed()
    if config.precision != "f32" or (config.threads or 1) > 1:
        names = [name for name in names if name != "onnxruntime"]
    if len(names) < 2:
        return names[0] if names else "torch"
    return fastest(net, names, lambda name: _cores(config, name), cache_folder(config, net))


def _cores(config: ServerConfig, engine: BackendName) -> tuple[int, int]:
    """For one batch, and batches at once."""
    threads = config.threads or (1 if engine == "onnxruntime" else min(_MOST_THREADS, cpus()))
    if config.workers is not None:
        return threads, config.workers
    if engine == "torch" and (config.device or best_device()) != "cpu":
        return threads, _WORKERS_OF_GPU
    return threads, max(1, cpus() // threads)


def cache_folder(config: ServerConfig, net: Net) -> Path:
    """Of what is compiled of a net."""
    folder = config.compile_cache or Path(platformdirs.user_cache_dir("compofa")) / "compiled"
    return folder / net.manifest.artifact_hash


def opened_engine(
    config: ServerConfig, net: Net, aside: CompileAside | None = None
) -> tuple[Engine, Costs | CostsByMacs]:
    """Of a settled configuration: ready to run, and what its runs cost. Raises `ValueError` where
    it cannot be had."""
    engine = make_engine(net, opened_backend(config, net), config.max_resident_bytes, aside)
    return engine, measured_costs(engine, net.manifest.design_space)


def opened_backend(config: ServerConfig, net: Net) -> Backend:
    """Of a settled configuration. Raises `ValueError` where it cannot be had."""
    assert config.engine != "auto"
    assert config.threads
    assert config.workers
    return make_backend(
        config.engine,
        threads=config.threads,
        lanes=config.workers,
        precision=config.precision,
        device=config.device,
        cache=cache_folder(config, net),
    )


def scheduling_limits(config: ServerConfig, engine: Residency) -> Limits:
    """As a gateway of this settled configuration has them."""
    assert config.workers
    together = min(config.max_batch, engine.most_images)
    return Limits(config.max_pending, together, config.workers)


def warm_up(engine: Engine, manifest: Manifest) -> WarmUp | None:
    """Of every shape there can be, where that makes their first requests faster."""
    if engine.chain is None or not engine.learns_shapes:
        return None
    resolutions = {Architecture.parse(e.subnet).resolution for e in manifest.catalog.entries}
    return WarmUp(
        engine.chain,
        engine.backend,
        manifest.design_space,
        sorted(resolutions),
        lambda: engine.usage.quiet_s > _QUIET_S,
    )
