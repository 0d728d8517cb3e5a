"""What a run says while it goes: a progress bar for people, a line of JSON for later."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from training import checkpoint
from training.curves import Curves
from training.log import Log
from training.recipe import Phase

if TYPE_CHECKING:
    from training.trainer import StepReport

LOG_STEPS = 100


@contextmanager
def track(description: str, total: int) -> Iterator[Callable[[float], None]]:
    """A progress bar on standard error for work that is not training; call it to advance."""
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(description, total=total)
        yield lambda done: bar.advance(task, done)


class RunReport:
    """A progress bar a phase on standard error, and `log.jsonl`.

    Use as a context manager; call it after each step, as `training.trainer.Report`. The log
    gets a line every 100 steps, and every twentieth of a shorter phase; where standard error is
    not a terminal it is printed too, instead of the bar. A run that goes on from a checkpoint
    goes on in the log from there. `tensorboard` is a folder for TensorBoard's curves.
    """

    def __init__(self, log: Path, tensorboard: Path | None = None) -> None:
        self._log = Log(log)
        self._curves = Curves(tensorboard) if tensorboard else None
        self._phase: Phase | None = None
        self._phase_steps = self._steps_before = 0
        self._last = checkpoint.Progress()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}  {task.fields[figures]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._task = TaskID(0)

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
        if self._curves:
            self._curves.close()

    def __call__(self, report: StepReport) -> None:
        if self._phase is None:
            self._go_on(report)
        if self._phase != report.phase:
            self._enter_phase(report)
        progress, steps = report.progress, report.steps
        figures = f"loss {progress.loss:.3f}  accuracy {progress.accuracy:.3f}"
        self._bar.update(self._task, completed=progress.step, figures=figures)
        if progress.step % min(LOG_STEPS, max(1, steps // 20)) == 0 or progress.step == steps:
            self._write(report)

    def _go_on(self, report: StepReport) -> None:
        """The first step of this process, which may not be the first of the run."""
        progress = report.progress
        self._steps_before = self._log.go_on_after(progress.phase, progress.step - 1)
        if self._curves:
            self._curves.go_on_after(self._steps_before + progress.step - 1)
        if progress.step > 1:
            self._last = replace(progress)

    def _enter_phase(self, report: StepReport) -> None:
        if self._phase is not None:
            self._steps_before += self._phase_steps
            self._last = checkpoint.Progress()
        self._phase, self._phase_steps = report.phase, report.steps
        self._task = self._bar.add_task(report.phase.name, total=report.steps, figures="")

    def _write(self, report: StepReport) -> None:
        progress, last = report.progress, self._last
        if last.step == progress.step:  # a single step since the run went on
            last = checkpoint.Progress()
        self._last = replace(progress)
        seconds = progress.seconds - last.seconds
        step_seconds = seconds / (progress.step - last.step)
        waiting = round((progress.waiting - last.waiting) / seconds, 4)
        curves = {
            "loss": round(progress.loss, 4),
            "batch_accuracy": round(progress.accuracy, 4),
            "learning_rate": float(f"{report.learning_rate:.5g}"),
        }
        line = self._log.append(
            {"phase": report.phase.name, "step": progress.step, "steps": report.steps}
            | curves
            | {
                "images_per_second": round((progress.images - last.images) / seconds, 1),
                "waiting": waiting,
                "seconds": round(progress.seconds, 1),
                "seconds_left": round(step_seconds * (report.steps - progress.step)),
            }
        )
        if self._bar.disable:
            print(line, file=sys.stderr, flush=True)
        if self._curves:
            speed = {"seconds_a_step": step_seconds, "waiting": waiting}
            self._curves.add(report.phase.name, self._steps_before + progress.step, curves | speed)
