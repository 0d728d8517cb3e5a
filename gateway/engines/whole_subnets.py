"""Subnets compiled whole and kept within a memory bound; the least used go first."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from gateway.engines.usage import Usage
from supernet.architecture import Architecture

FAILED_FOR_S = 5.0
"""A subnet that could not be compiled is not tried again for so long: who waits for it hears at
once what the first of them heard, and a batch of it is not as many compilations."""

P = TypeVar("P")
SizeOf = Callable[[Architecture], int]
"""Bytes of a subnet's weights."""


@dataclass(frozen=True, slots=True)
class Whole(Generic[P]):
    """A subnet, compiled: what runs it here."""

    program: P
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Failure:
    """When, and of what. Not the exception itself: that keeps the frames it went through, and the
    batches in them."""

    at: float
    kind: type[BaseException]
    args: tuple[object, ...]


class WholeSubnets(Generic[P]):
    """At most `max_bytes` of weights, or one subnet alone that is larger. Thread-safe.

    Threads that ask for the same subnet at once share one compilation. A run that holds a program
    which is given up meanwhile ends with it; the memory is free once its runners are gone.
    """

    def __init__(
        self,
        compile_: Callable[[Architecture], P],
        size_of: SizeOf,
        usage: Usage,
        max_bytes: int,
        clock: Callable[[], float] = time.monotonic,
        gave_up: Callable[[Architecture], None] = lambda _: None,
    ) -> None:
        """`gave_up` hears of each that is given up."""
        self._compile, self._size_of, self._usage = compile_, size_of, usage
        self._max_bytes, self._clock, self._gave_up = max_bytes, clock, gave_up
        self._failed: dict[Architecture, _Failure] = {}
        self.given_up = 0  # how many, ever
        self.failures = 0  # of compilations
        self._lock = threading.Lock()
        self._ready: dict[Architecture, Whole[P]] = {}
        self._under_way: dict[Architecture, Future[Whole[P]]] = {}

    @property
    def resident_bytes(self) -> int:
        with self._lock:
            return sum(whole.size_bytes for whole in self._ready.values())

    @property
    def sizes(self) -> dict[Architecture, int]:
        """Bytes of the weights of each that is ready."""
        with self._lock:
            return {arch: whole.size_bytes for arch, whole in self._ready.items()}

    @property
    def archs(self) -> tuple[Architecture, ...]:
        """Those that are ready."""
        with self._lock:
            return tuple(self._ready)

    def get(self, arch: Architecture) -> Whole[P] | None:
        """None where it is not ready. Takes no lock: a dict's own read is atomic."""
        return self._ready.get(arch)

    def obtain(self, arch: Architecture) -> Whole[P]:
        """Compiled now where it is not ready. Raises what compiling raises, or raised just now."""
        with self._lock:
            ready = self._ready.get(arch)
            if ready is not None:
                return ready
            failed = self._failed.get(arch)
            if failed is not None and self._clock() - failed.at < FAILED_FOR_S:
                raise failed.kind(*failed.args)
            future = self._under_way.get(arch)
            ours = future is None
            if future is None:
                future = self._under_way[arch] = Future()
        if ours:
            self._fulfil(arch, future)
        return future.result()

    def failed_s_ago(self, arch: Architecture) -> float:
        """How long ago compiling it failed last; infinity where it did not, or has succeeded."""
        with self._lock:
            failed = self._failed.get(arch)
        return math.inf if failed is None else self._clock() - failed.at

    def would_stay(self, arch: Architecture) -> bool:
        """Whether there is room for it, or would be once less used ones are given up."""
        counts = self._usage.counts()
        with self._lock:
            kept = sum(
                whole.size_bytes
                for other, whole in self._ready.items()
                if counts.get(other, 0.0) >= counts.get(arch, 0.0)
            )
        return kept + self._size_of(arch) <= self._max_bytes

    def _fulfil(self, arch: Architecture, future: Future[Whole[P]]) -> None:
        try:
            whole = Whole(self._compile(arch), self._size_of(arch))
        except BaseException as error:
            with self._lock:
                self.failures += 1
                self._failed[arch] = _Failure(self._clock(), type(error), error.args)
                del self._under_way[arch]
            future.set_exception(error)
            return
        counts = self._usage.counts()
        with self._lock:
            self._ready[arch] = whole
            self._failed.pop(arch, None)
            del self._under_way[arch]
            over = self._over(arch, counts)
        for other in over:
            self.give_up(other)
        future.set_result(whole)

    def give_up(self, arch: Architecture) -> None:
        """Where it is ready."""
        with self._lock:
            if self._ready.pop(arch, None) is None:
                return
            self.given_up += 1
        self._gave_up(arch)

    def _over(self, keep: Architecture, counts: dict[Architecture, float]) -> list[Architecture]:
        """Those that there is no room for, the least used ones."""
        total, over = sum(whole.size_bytes for whole in self._ready.values()), []
        for arch in sorted(self._ready, key=lambda a: counts.get(a, 0.0)):
            if total > self._max_bytes and arch != keep:
                total -= self._ready[arch].size_bytes
                over.append(arch)
        return over
