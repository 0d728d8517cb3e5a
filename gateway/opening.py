"""Everything a configuration names, put together: net, engine, device classes, pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import platformdirs

from gateway.compiling import CompileAside
from gateway.config import ServerConfig
from gateway.device_classes import DeviceClasses
from gateway.engines.backend import Backend
from gateway.engines.chain_programs import ChainPrograms
from gateway.engines.choice import fastest
from gateway.engines.costs import Costs, CostsByMacs
from gateway.engines.engine import Engine
from gateway.engines.hot_subnets import HotSubnets
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
from gateway.engines.warm_up import WarmUp
from gateway.pipeline import Pipeline, Watch
from gateway.scheduling.dispatcher import Limits
from gateway.stores.by_url import read_device_classes
from supernet.architecture import Architecture

_WORKERS_OF_GPU = 2  # one prepares a batch while the other's runs
_QUIET_S = 0.2  # between one request and the next of a busy client is no idleness
_MOST_THREADS = 2  # for a batch: a second core nearly halves a run, and so each deadline's risk


@contextmanager
def open_pipeline(config: ServerConfig) -> Iterator[Pipeline]:
    """A pipeline with the device classes there are now. Raises `ValueError` in one line. Not
    within an event loop."""
    net = Net(config.artifact)
    classes = read_device_classes(
        config.artifact, net.manifest, config.store, fallback=config.fallback_device_class
    )
    with running_pipeline(config, net, classes) as pipeline:
        yield pipeline


@contextmanager
def running_pipeline(
    config: ServerConfig, net: Net, classes: DeviceClasses, watch: Watch | None = None
) -> Iterator[Pipeline]:
    """A pipeline as `config` wants it. It can answer at once; what runs most is compiled whole
    beside it. Raises `ValueError` where the engine cannot be had."""
    manifest, config = net.manifest, settled(config, net)
    aside = CompileAside(config, manifest.artifact_hash)
    engine, costs = opened_engine(config, net, aside)
    hot = HotSubnets(engine.whole, engine.usage, interrupt=aside.close)
    pipeline = Pipeline(
        manifest,
        classes,
        engine,
        costs,
        max_batch=config.max_batch,
        max_pending=config.max_pending,
        num_workers=scheduling_limits(config, engine).workers,
        watch=watch,
    )
    with pipeline, ExitStack() as beside:
        if engine.chain is not None:
            hot.start()
            beside.callback(hot.close)
            if engine.backend.learns_shapes:
                warm_up = _warm_up(engine, engine.chain, pipeline)
                warm_up.start()
                beside.callback(warm_up.close)
        yield pipeline


def _warm_up(engine: Engine, chain: ChainPrograms, pipeline: Pipeline) -> WarmUp:
    def idle() -> bool:
        return not pipeline.pending and engine.usage.quiet_s > _QUIET_S

    manifest = pipeline.manifest
    resolutions = {Architecture.parse(e.subnet).resolution for e in manifest.catalog.entries}
    return WarmUp(chain, engine.backend, manifest.design_space, sorted(resolutions), idle)


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
    return fastest(net, names, lambda name: _cores(config, name), _cache(config, net))


def _cores(config: ServerConfig, engine: BackendName) -> tuple[int, int]:
    """For one batch, and batches at once."""
    threads = config.threads or (1 if engine == "onnxruntime" else min(_MOST_THREADS, cpus()))
    if config.workers is not None:
        return threads, config.workers
    if engine == "torch" and (config.device or best_device()) != "cpu":
        return threads, _WORKERS_OF_GPU
    return threads, max(1, cpus() // threads)


def _cache(config: ServerConfig, net: Net) -> Path:
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
        cache=_cache(config, net),
    )


def scheduling_limits(config: ServerConfig, engine: Engine) -> Limits:
    """As a gateway of this settled configuration has them."""
    assert config.workers
    together = min(config.max_batch, engine.most_images)
    return Limits(config.max_pending, together, config.workers)
