"""What a worker's process does: opens the engine, runs one batch after another, ends with the
gateway.

It knows neither requests nor metrics. Which subnets it has whole is told by the gateway.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import sys
import threading
import time
from typing import NoReturn

from gateway import heap, logs
from gateway.engine_opening import opened_engine, settled, warm_up
from gateway.engines.costs import Costs
from gateway.engines.engine import Engine
from gateway.engines.net import Net
from gateway.engines.opening import cpus
from gateway.workers.channel import Channel, Message, SharedMemory
from gateway.workers.executor import Executor
from gateway.workers.messages import REFUSED, Opened, Setup
from gateway.workers.packing import end_of, packed_outcome, unpacked
from gateway.workers.preparers import Preparers
from supernet.architecture import Architecture

_LOG = logging.getLogger(__name__)
_NOT_OURS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTOU)
"""Signals that are for the gateway; and to write logs to its terminal is no reason to stop."""


def main(work_fd: int, control_fd: int, memory_fd: int) -> None:
    for number in _NOT_OURS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(control_fd,), daemon=True).start()
    setup = Setup.model_validate_json(sys.stdin.buffer.read())
    logs.configure(sys.stderr, setup.log_level)
    work, memory = Channel.of(work_fd), SharedMemory(memory_fd)
    net = Net(setup.config.artifact, setup.manifest)
    try:
        config = settled(setup.config, net)
        # The others have processes of their own, and what is to be whole the gateway decides.
        alone = config.model_copy(update={"workers": 1, "max_resident_bytes": sys.maxsize})
        engine, costs = opened_engine(alone, net)
    except (ValueError, RuntimeError, MemoryError) as error:
        work.send({REFUSED: str(error) or "out of memory"})
        return
    assert isinstance(costs, Costs), "of a folded net"
    opened = Opened(
        config=config,
        costs=costs.to_json().decode(),
        engine=engine.name,
        most_images=engine.most_images,
        learns_shapes=engine.learns_shapes,
        chain_bytes=engine.chain_bytes,
        maps_weights=engine.backend.maps_weights,
        loaded=net.is_loaded,
    )
    work.send(opened.model_dump(mode="json"))
    gc.collect()
    gc.freeze()
    executor = Executor(engine.lane(), setup.manifest, Preparers(cpus()))
    if (warming := warm_up(engine, setup.manifest)) is not None:
        warming.start()
    threading.Thread(target=_obey, args=(Channel.of(control_fd), engine), daemon=True).start()
    threading.Thread(target=_keep_trim, daemon=True).start()
    _run(work, memory, executor)


def _run(work: Channel, memory: SharedMemory, executor: Executor) -> NoReturn:
    """Until the gateway is gone, or wants no more. The process ends at once then: what unloads a
    runtime while threads of it are at work is ended by a signal."""
    while True:
        try:
            told = work.receive()
        except EOFError:
            os._exit(0)
        outcome = executor.run(unpacked(told, memory))
        answer = packed_outcome(outcome, memory, end_of(told))
        try:
            work.send(answer)
        except OSError:
            os._exit(0)


def _end_with(control_fd: int) -> None:
    """End the process with the gateway, whatever it is doing."""
    gone = select.poll()
    gone.register(control_fd, select.POLLRDHUP)
    gone.poll()
    os._exit(0)


def _obey(control: Channel, engine: Engine) -> NoReturn:
    """Beside batches, at their priority (`HotSubnets`): do what the gateway says."""
    try:
        while True:
            subnet, wanted = control.receive()
            control.send(_done(Architecture.parse(subnet), wanted, engine))
    except (EOFError, OSError):
        os._exit(0)  # the gateway is gone
    except BaseException:  # who cannot be told any more is of no use
        _LOG.exception("the thread that obeys has failed")
        os._exit(1)


def _keep_trim() -> None:
    """Hand back what is free, as `heap.kept_trim` does in an event loop."""
    trimmer = heap.Trimmer()
    while True:
        time.sleep(heap.INTERVAL_S)
        trimmer.look()


def _done(arch: Architecture, wanted: bool, engine: Engine) -> Message:
    """Whether a subnet is whole here, or no longer, as it was asked for; why it cannot be."""
    if not wanted:
        engine.whole.give_up(arch)
        return True
    try:
        if engine.whole.get(arch) is None and not engine.backend.keeps(arch.id):
            return False
        engine.whole.obtain(arch)
    except Exception as error:  # of a runtime: of whatever kind
        return {REFUSED: str(error) or type(error).__name__}
    return True


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
