"""What a run says while it goes: a progress bar for people, a line of JSON for later."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from training import checkpoint
from training.recipe import Phase

LOG_STEPS = 100


@contextmanager
def track(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error for work that is not training; call it to advance."""
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(description, total=total)
        yield lambda done: bar.advance(task, done)


class RunReport:
    """A progress bar a phase on standard error, and `log.jsonl` with a line every 100 steps.

    Use as a context manager; call it after each step, as `training.trainer.Report`. Where
    standard error is not a terminal the log's lines are printed instead of the bar.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._accuracy = 0.0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}  {task.fields[figures]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> RunReport:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def __call__(
        self, phase: Phase, progress: checkpoint.Progress, steps: int, accuracy: float
    ) -> None:
        weight = 0.02 if self._tasks else 1.0  # the first step stands for itself
        self._accuracy += weight * (accuracy - self._accuracy)
        if phase.name not in self._tasks:
            self._tasks[phase.name] = self._bar.add_task(phase.name, total=steps, figures="")
        figures = f"loss {progress.loss:.3f}  accuracy {self._accuracy:.3f}"
        self._bar.update(self._tasks[phase.name], completed=progress.step, figures=figures)
        if progress.step % LOG_STEPS == 0 or progress.step == steps:
            self._write(phase, progress, steps)

    def _write(self, phase: Phase, progress: checkpoint.Progress, steps: int) -> None:
        line = json.dumps(
            {
                "phase": phase.name,
                "step": progress.step,
                "steps": steps,
                "loss": round(progress.loss, 4),
                "batch_accuracy": round(self._accuracy, 4),
                "seconds": round(progress.seconds, 1),
                "seconds_left": round(progress.seconds / progress.step * (steps - progress.step)),
            }
        )
        with self._log.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        if self._bar.disable:
            print(line, file=sys.stderr, flush=True)
