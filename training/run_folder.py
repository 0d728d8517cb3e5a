"""The folder of a run: where things are, nobody else's meanwhile, and left in order by Ctrl-C."""

from __future__ import annotations

import fcntl
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from training.processes import Processes


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where a run keeps its state and leaves its result."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def log(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def artifact(self) -> Path:
        return self.path / "artifact"

    @contextmanager
    def held(self, group: Processes) -> Iterator[None]:
        """Nobody else's while the context is open; `ValueError` where another run holds it."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not group.is_first:
            yield
            return
        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"--out {self.path}: another run is at work there") from None
            yield


@contextmanager
def stopped(stop: threading.Event, group: Processes) -> Iterator[None]:
    """Ctrl-C lets the step at hand end and leaves a checkpoint; a second one ends at once.

    Not with several processes, of which one would wait for the others' step.
    """
    if group.count > 1 or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, before)
        stop.set()
        print("stopping after this step; the same command goes on from there", file=sys.stderr)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
