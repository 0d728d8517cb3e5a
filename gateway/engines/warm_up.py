"""Runs every shape there can be while nobody waits: the first run of each takes a runtime several
times as long, and under load that is somebody's deadline."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from gateway.engines.backend import Backend, zeros
from gateway.engines.chain_programs import ChainPrograms
from gateway.engines.segments import covering
from supernet.design_space import DesignSpace

_LOG = logging.getLogger(__name__)
_LOOK_AGAIN_S = 0.05


@dataclass(slots=True)
class WarmUp:
    """A thread that runs a chain's segments one by one, each only once `idle` says so: a request
    that comes waits for one of them at most. It ends when all have run."""

    chain: ChainPrograms
    backend: Backend
    space: DesignSpace
    resolutions: Sequence[int]
    idle: Callable[[], bool]
    done: bool = False
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="warm-up", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Return once a run under way has ended."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        try:
            for _ in self._steps():
                while not self.idle() and not self._stop.wait(_LOOK_AGAIN_S):
                    pass
                if self._stop.is_set():
                    return
        except Exception as error:  # of a runtime; whoever needs the shape will meet it too
            _LOG.warning("warming up: %s", error)
        else:
            self.done = True
            seconds = round(time.monotonic() - began, 1)
            _LOG.info("warm", extra={"fields": {"seconds": seconds}})
        self.chain.release()

    def _steps(self) -> Iterator[None]:
        """One run of one segment at each step: single images first, at every resolution."""
        runners = self.chain.runners()
        archs = [arch for r in self.resolutions for arch in covering(self.space, r)]
        for images in range(1, self.backend.most_images + 1):
            for arch in archs:
                x = zeros(self.space.skeleton.inputs, images, arch.resolution)
                yield
                for _ in runners.timed(arch, self.backend.to_values(x), time.perf_counter):
                    yield
