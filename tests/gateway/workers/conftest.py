"""A gateway's processes on the tiny net, which start from what was compiled once for all tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from gateway.config import ServerConfig
from gateway.engine_opening import opened_backend, opened_engine, settled
from gateway.engines.compile_cache import CompileCache
from gateway.engines.engine import Engine
from gateway.engines.net import Net
from gateway.workers.processes import ProcessWorker, WorkerProcesses
from supernet.architecture import Architecture
from tests.gateway.workers.batches import LARGEST, SUBNET

MakeProcesses = Callable[..., WorkerProcesses]


def _config(folder: Path, cache: Path) -> ServerConfig:
    return ServerConfig(
        artifact=folder, engine="onnxruntime", device="cpu", workers=1, compile_cache=cache
    )


def _engine(config: ServerConfig) -> Engine:
    net = Net(config.artifact)
    engine, _ = opened_engine(settled(config, net), net)
    return engine


def cache_of(config: ServerConfig) -> CompileCache:
    net = Net(config.artifact)
    cache = opened_backend(settled(config, net), net).cache
    assert cache is not None
    return cache


@pytest.fixture(scope="session")
def compiled(artifact_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compile cache with all segments, and two subnets whole. Shared: copy it to change it."""
    folder = tmp_path_factory.mktemp("compiled")
    engine = _engine(_config(artifact_folder, folder))
    for subnet in (LARGEST, SUBNET):
        engine.whole.obtain(Architecture.parse(subnet))
    return folder


@pytest.fixture(scope="session")
def config(artifact_folder: Path, compiled: Path) -> ServerConfig:
    return _config(artifact_folder, compiled)


@pytest.fixture(scope="module")
def engine(config: ServerConfig) -> Engine:
    """Of this process, by the same runtime."""
    return _engine(config)


@pytest.fixture(scope="module")
def processes(config: ServerConfig) -> Iterator[WorkerProcesses]:
    """Two. Shared: look at what changes, not at what is."""
    wanted = config.model_copy(update={"workers": 2, "store": "redis://:sesame@host"})
    with closing(WorkerProcesses(wanted, Net(config.artifact))) as opened:
        yield opened


@pytest.fixture(scope="module")
def workers(processes: WorkerProcesses) -> tuple[ProcessWorker, ProcessWorker]:
    return processes.worker(), processes.worker()


@pytest.fixture
def worker(workers: tuple[ProcessWorker, ProcessWorker]) -> ProcessWorker:
    return workers[0]


@pytest.fixture
def told_apart(config: ServerConfig, tmp_path: Path) -> ServerConfig:
    """Whoever has the largest subnet whole answers by the other one: what is in the cache under its
    name is that."""
    shutil.copytree(str(config.compile_cache), tmp_path / "cache")
    changed = config.model_copy(update={"compile_cache": tmp_path / "cache"})
    cache = cache_of(changed)
    other = cache.read(SUBNET)
    assert other is not None
    cache.write(LARGEST, other)
    return changed


@pytest.fixture
def make_processes(config: ServerConfig) -> Iterator[MakeProcesses]:
    """Options as of the configuration; or another configuration."""
    with ExitStack() as opened:

        def made(given: ServerConfig = config, **options: object) -> WorkerProcesses:
            wanted = given.model_copy(update=options)
            processes = WorkerProcesses(wanted, Net(wanted.artifact))
            return opened.enter_context(closing(processes))

        yield made
