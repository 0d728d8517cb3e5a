"""A process for each worker: none waits for another's interpreter, nor for the event loop's.

What is decided once for all of them is decided here: which subnets they have whole.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from gateway import logs
from gateway.compiling import FIELDS, CompileAside
from gateway.config import ServerConfig
from gateway.engines.costs import Costs
from gateway.engines.net import Net
from gateway.engines.opening import whole_bytes
from gateway.engines.residency import Residency
from gateway.engines.usage import Usage
from gateway.engines.whole_subnets import WholeSubnets
from gateway.errors import GatewayError
from gateway.workers.batch import Batch, Outcome, Run
from gateway.workers.messages import Opened, Setup
from gateway.workers.worker_process import END_S, MOST_S, WorkerLostError, WorkerProcess
from supernet.architecture import Architecture

_LOG = logging.getLogger(__name__)
_TRIES = 2  # the first may find a process that ended while it was idle
_MOST_ALONE_S = 60.0  # that a batch of one takes, where something has gone wrong with it already
_OPEN_AGAIN_S = 60.0  # that a start takes where the cache has everything


class NothingKeptError(Exception):
    """Each process would hold torch and the net, for it would have to compile for itself."""

    def __init__(self) -> None:
        super().__init__("the compile cache keeps nothing")


class WorkerProcesses(Residency):
    """Of a folded net. As many as the configuration wants, ready once this is made. Thread-safe."""

    def __init__(self, config: ServerConfig, net: Net) -> None:
        """Raises `ValueError` where the engine cannot be had, `NothingKeptError` where processes
        have nothing to share and the configuration does not insist on them."""
        told = ServerConfig.model_validate(config.model_dump(include=FIELDS))  # no secrets
        setup = Setup(config=told, manifest=net.manifest, log_level=logs.current_level())
        first, opened = _first(setup, may_compile=bool(config.processes))
        self.config, self.name = opened.config, opened.engine
        self.costs = Costs.from_json(net.manifest.design_space, opened.costs.encode())
        self.most_images, self.learns_shapes = opened.most_images, opened.learns_shapes
        self._setup = setup.model_copy(update={"config": opened.config})
        self.aside = CompileAside(
            opened.config.model_copy(update={"workers": 1}), net.manifest.artifact_hash
        )
        assert opened.config.workers
        usage, copies = Usage(), 1 if opened.maps_weights else opened.config.workers

        def size_of(arch: Architecture) -> int:
            return copies * whole_bytes(net.manifest.design_space, arch)

        whole = WholeSubnets(
            self._compile, size_of, usage, config.max_resident_bytes, gave_up=self._give_up
        )
        super().__init__(whole, usage, copies * opened.chain_bytes)
        self._lock = threading.Lock()
        self._spare, self._all = [first], {0: first}
        self._leaving: list[WorkerProcess] = []
        try:
            others = [self._started() for _ in range(opened.config.workers - 1)]
            for other in others:
                other.opened()
        except BaseException:
            self.close()
            raise
        self._spare += others

    def worker(self) -> ProcessWorker:
        """One more, with a process that nobody else has."""
        return ProcessWorker(self)

    def take(self) -> WorkerProcess:
        """One that nobody has, started where there is none. Raises `ValueError`."""
        with self._lock, suppress(IndexError):
            return self._spare.pop()
        process = self._started()
        try:
            process.opened(_OPEN_AGAIN_S)
        except ValueError:
            self.abandon(process)
            raise
        self._bring_up(process)
        return process

    def _bring_up(self, process: WorkerProcess) -> None:
        """Have it have whole what the others have, until that has not changed meanwhile."""
        told: set[Architecture] = set()
        while (wanted := {*self.whole.archs}) != told:
            for arch in wanted ^ told:
                try:
                    process.have(arch, whole=arch in wanted)
                except RuntimeError as error:
                    _LOG.warning("%s whole: %s; it runs as a chain there", arch.id, error)
            told = wanted

    def replaced(self, process: WorkerProcess) -> WorkerProcess:
        """Another, for one that is lost. Raises `ValueError`."""
        self.abandon(process)
        other = self.take()
        self.lost += 1
        return other

    def close(self) -> None:
        """Return once all have ended, for which all have the same few seconds."""
        self.aside.close()
        processes, until = (*self._now(), *self._leaving), time.monotonic() + END_S
        for process in processes:
            process.let_go()
        for process in processes:
            process.close(until - time.monotonic())

    def processes(self) -> dict[int, int]:
        """As `Residency` says."""
        with self._lock:
            return {number: process.pid for number, process in self._all.items()}

    def _started(self) -> WorkerProcess:
        process = WorkerProcess(self._setup)
        with self._lock:
            number = next(n for n in itertools.count() if n not in self._all)
            self._all[number] = process
        return process

    def abandon(self, process: WorkerProcess) -> None:
        """What it is doing is of no use any more."""
        with self._lock:
            self._all = {n: each for n, each in self._all.items() if each is not process}
            self._leaving = [p for p in self._leaving if not p.has_ended] + [process]
        process.let_go()

    def _now(self) -> list[WorkerProcess]:
        with self._lock:
            return list(self._all.values())

    def _compile(self, arch: Architecture) -> None:
        """Into every process, from the cache; what is not there is compiled into it first. Raises
        `RuntimeError`, and then none has it."""
        try:
            if not _have(self._now(), arch):
                self.aside(arch)
                if not _have(self._now(), arch):  # with those that have been started meanwhile
                    raise RuntimeError("the compile cache does not keep it")
        except RuntimeError:
            self._give_up(arch)
            raise

    def _give_up(self, arch: Architecture) -> None:
        for process in self._now():
            process.have(arch, whole=False)


class ProcessWorker:
    """Runs one batch after another in a process, and in another one after that has ended."""

    def __init__(self, processes: WorkerProcesses) -> None:
        self._processes, self._process = processes, processes.take()

    async def run(self, batch: Batch) -> Outcome:
        """What a process dies of may be one of the inputs: they run one by one then, and what it
        dies of again has failed. Raises `ValueError` where there is no other process to be had."""
        outcome = await self._run(batch)
        if outcome is None:
            outcome = await self._one_by_one(batch)
        for _ in outcome.runs:
            self._processes.usage.add(Architecture.parse(batch.subnet))
        return outcome

    async def _run(self, batch: Batch, most_s: float = MOST_S) -> Outcome | None:
        """None where processes have ended with it."""
        for _ in range(_TRIES):
            try:
                return await self._process.run(batch, most_s)
            except WorkerLostError as error:
                _LOG.error("%s", error)
                self._process = await asyncio.to_thread(self._processes.replaced, self._process)
                if error.ran:
                    break
            except BaseException:  # its answer may still come, and is not the next batch's
                self._processes.abandon(self._process)
                raise
        return None

    async def _one_by_one(self, batch: Batch) -> Outcome:
        runs: list[Run] = []
        errors: dict[int, GatewayError] = {}
        for place in range(len(batch.inputs)):
            outcome = await self._run(batch.alone(place), _MOST_ALONE_S)
            if outcome is None:
                errors[place] = GatewayError()
            else:
                runs += (replace(run, places=(place,)) for run in outcome.runs)
                errors.update((place, error) for error in outcome.errors.values())
        return Outcome(tuple(runs), errors, failed_together=len(batch.inputs) > 1)


def _first(setup: Setup, *, may_compile: bool) -> tuple[WorkerProcess, Opened]:
    """The first process, and what it has found out. One that has compiled something holds all that
    was needed for it: it is started again by what it left in the cache. Raises `NothingKeptError`
    where it had to compile again and may not."""
    process = WorkerProcess(setup)
    try:
        opened = process.opened()
        if opened.loaded:
            process.close()
            process = WorkerProcess(setup.model_copy(update={"config": opened.config}))
            opened = process.opened()
        if opened.loaded and not may_compile:
            raise NothingKeptError
    except BaseException:
        process.close()
        raise
    return process, opened


def _have(processes: Iterable[WorkerProcess], arch: Architecture) -> bool:
    """Whether all of them have a subnet whole, from the cache where they had not."""
    return all(process.have(arch, whole=True) for process in processes)
