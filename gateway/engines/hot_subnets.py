"""Compiles whole, in the background, what runs most and what bursts run: a chain costs more, in
full batches of the smallest subnet a tenth."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from gateway.engines.usage import Usage
from gateway.engines.whole_subnets import WholeSubnets
from supernet.architecture import Architecture

_LOG = logging.getLogger(__name__)
LEAST_RUNS = 1000.0  # within about a half-life: compiling takes seconds of a core
BEFORE_BURSTS = 100.0  # runs of all together: somebody asks
INTERVAL_S = 1.0
RETRY_AFTER_S = 600.0  # a subnet that could not be compiled runs as a chain until then


@dataclass(slots=True)
class HotSubnets:
    """A thread that looks every `interval_s`, and compiles one subnet at a time: `cheapest`, which
    runs in bursts only, once all together have run `before_bursts` times; another once it has
    itself `least_runs`. `interrupt` ends a compilation under way, where that can be done.

    Of no lower priority than what serves: it would keep locks, the interpreter's among them, while
    it waits for a core, and a batch waited a second for it (docs/scaling.md)."""

    whole: WholeSubnets[Any]
    usage: Usage
    cheapest: Architecture | None = None
    interval_s: float = INTERVAL_S
    least_runs: float = LEAST_RUNS
    before_bursts: float = BEFORE_BURSTS
    interrupt: Callable[[], None] = lambda: None
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="compile", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Return once a compilation under way has ended."""
        self._stop.set()
        self.interrupt()
        if self._thread is not None:
            self._thread.join()

    def compile_one(self) -> Architecture | None:
        """The next subnet that is worth it and not compiled yet, compiled; None where there is
        none, or where it failed: that is logged, and not tried again soon."""
        arch = self._next()
        if arch is None:
            return None
        try:
            self.whole.obtain(arch)
        except Exception as error:  # of whatever kind: what serves must not end for it
            if not self._stop.is_set():
                _LOG.warning("compiling %s whole: %s; it runs as a chain", arch.id, error)
            return None
        return arch

    def _next(self) -> Architecture | None:
        for arch in self._worth_it():
            if self.whole.failed_s_ago(arch) < RETRY_AFTER_S:
                continue
            if self.whole.get(arch) is None and self.whole.would_stay(arch):
                return arch
        return None

    def _worth_it(self) -> Iterator[Architecture]:
        """The most used first, after what a burst runs."""
        counts = self.usage.counts()
        if self.cheapest is not None and sum(counts.values()) >= self.before_bursts:
            yield self.cheapest
        yield from (arch for arch, runs in counts.items() if runs >= self.least_runs)

    def _run(self) -> None:
        while not self._stop.wait(self.interval_s):
            while self.compile_one() is not None and not self._stop.is_set():
                pass
