"""The workers of a gateway: threads of its own, or a process for each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from gateway.compiling import CompileAside
from gateway.config import ServerConfig
from gateway.engine_opening import cache_folder, opened_engine, settled, warm_up
from gateway.engines.costs import MANY, Costs, CostsByMacs
from gateway.engines.hot_subnets import HotSubnets
from gateway.engines.net import Net
from gateway.engines.opening import best_device, cpus, installed
from gateway.engines.residency import Residency
from gateway.workers.batch import Worker
from gateway.workers.executor import Executor
from gateway.workers.preparers import Preparers
from gateway.workers.processes import NothingKeptError, WorkerProcesses
from gateway.workers.thread_worker import ThreadWorker
from supernet.architecture import Architecture

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Team:
    """`worker` makes one more; `config` has nothing left open."""

    config: ServerConfig
    engine: Residency
    costs: Costs | CostsByMacs
    worker: Callable[[], Worker]


@contextmanager
def team_of(config: ServerConfig, net: Net) -> Iterator[Team]:
    """As `config` wants it, ready; what runs most is compiled whole beside it. Raises `ValueError`
    where the engine cannot be had."""
    with ExitStack() as opened:
        team = _processes(config, net, opened) if _in_processes(config, net) else None
        yield team or _threads(config, net, opened)


def _in_processes(config: ServerConfig, net: Net) -> bool:
    """A net that is not folded needs torch and its weights wherever it runs, a GPU is shared by
    threads, and without a cache each process would compile for itself."""
    can = net.has_pieces and config.engine != "torch" and bool(installed())
    can = can and (config.device or best_device()) == "cpu"
    if config.processes and not can:
        raise ValueError(
            "processes: expected a folded net, a CPU, and the engine onnxruntime or openvino"
        )
    if config.processes is None:
        return can and _can_be_written(cache_folder(config, net))
    return config.processes


def _can_be_written(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            return True
    except OSError as error:
        _LOG.warning("compile cache %s: %s; workers are threads", folder, error.strerror)
        return False


def _processes(config: ServerConfig, net: Net, opened: ExitStack) -> Team | None:
    """None where they would have nothing to share: the disk of the cache may be full."""
    try:
        processes = WorkerProcesses(config, net)
    except NothingKeptError as error:
        _LOG.warning("%s; workers are threads", error)
        return None
    opened.callback(processes.close)
    _start_hot(processes, net, processes.costs, processes.close, opened)
    return Team(processes.config, processes, processes.costs, processes.worker)


def _threads(config: ServerConfig, net: Net, opened: ExitStack) -> Team:
    config = settled(config, net)
    aside = CompileAside(config, net.manifest.artifact_hash)
    engine, costs = opened_engine(config, net, aside)
    preparers = Preparers(cpus())
    opened.callback(preparers.close)
    if engine.chain is not None:
        _start_hot(engine, net, costs, aside.close, opened)
    if (warming := warm_up(engine, net.manifest)) is not None:
        warming.start()
        opened.callback(warming.close)

    def worker() -> ThreadWorker:
        made = ThreadWorker(Executor(engine.lane(), net.manifest, preparers))
        opened.callback(made.close)
        return made

    return Team(config, engine, costs, worker)


def _start_hot(
    engine: Residency,
    net: Net,
    costs: Costs | CostsByMacs,
    interrupt: Callable[[], None],
    opened: ExitStack,
) -> None:
    subnets = (entry.subnet for entry in net.manifest.catalog.entries)
    cheapest = Architecture.parse(min(subnets, key=lambda subnet: costs.of(subnet).ms(MANY)))
    hot = HotSubnets(engine.whole, engine.usage, cheapest, interrupt=interrupt)
    hot.start()
    opened.callback(hot.close)
