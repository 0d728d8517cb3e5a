"""Runs a recipe's phases over images, step by step, and can stop and go on at any step.

Knows nothing of evaluation, artifacts or the command line.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from supernet import manifest
from supernet.architecture import Architecture
from supernet.importance import sort_channels
from supernet.layers import channels_last
from supernet.model import Supernet
from supernet.normalization import BatchNormalization, PieceAffine
from training import schedule
from training.calibrate import average_affines
from training.checkpoint import Checkpoint, Progress, read_checkpoint
from training.costs.cost import fold_start_macs, step_macs
from training.costs.energy import EnergyMeter
from training.images.data import Batch, BatchPlan, ImageSource
from training.muon import update_macs
from training.processes import Processes
from training.randomness import python_random
from training.recipe import Phase, Recipe
from training.step import Step, forward_of, loss_of
from training.updater import Updater


@dataclass(frozen=True, slots=True)
class StepReport:
    """What a step tells whoever watches."""

    phase: Phase
    progress: Progress
    steps: int
    learning_rate: float


Report = Callable[[StepReport], None]


class Trainer:
    """One run: the supernet, the optimizer, the teacher, and how far it has come.

    `start` is the untrained or imported net, `teacher` one that is there from the beginning.
    `checkpoint` is the file to go on from where it exists, and to write to; `identity` tells the
    run from others that may have left a file there; `setting` says what it runs on, which may be
    something else when it goes on (`settings` has all). With `until` it ends after the phase of
    that name, and goes on from there another time. The same recipe, start and images give the
    same weights whether or not the run was interrupted.

    The micro-batches of a step run side by side on `num_threads` threads, each with one of
    torch's own: no barriers inside the small layers, which is faster than sharing every layer,
    and possible because the forward is stateless. Whoever sets `stop` gets a `KeyboardInterrupt`
    after the step at hand, with a checkpoint written.
    """

    def __init__(
        self,
        recipe: Recipe,
        start: Supernet,
        images: ImageSource,
        checkpoint: Path,
        *,
        identity: str = "",
        setting: str = "",
        until: str | None = None,
        teacher: Supernet | None = None,
        num_threads: int = 1,
        device: torch.device | None = None,
        processes: Processes | None = None,
        meter: EnergyMeter | None = None,
    ) -> None:
        torch.set_num_threads(1)
        self._pool = ThreadPoolExecutor(num_threads, thread_name_prefix="micro-batch")
        self.recipe, self.images, self.path = recipe, images, checkpoint
        self._to_do = (recipe.until(until) if until else recipe).phases
        self.device, self.processes = device or torch.device("cpu"), processes or Processes()
        self._meter, self.stop = meter, threading.Event()
        self.identity = f"{recipe.sha256}, seed {recipe.seed}, {identity}"
        self.space = start.space
        self.progress = Progress()
        self.phases: tuple[manifest.Phase, ...] = ()
        self.settings: tuple[str, ...] = (setting,)
        self.teacher = teacher and teacher.to(self.device).requires_grad_(False)
        self.supernet = channels_last(start).to(self.device)
        schedule.check_batches(recipe, len(images), self.processes.count)
        self._restore()

    def run(self, report: Report) -> None:
        """Train through all phases that are left."""
        while self.progress.phase < len(self._to_do):
            phase = self._to_do[self.progress.phase]
            self.supernet.space = schedule.phase_space(phase, self.space)
            if self.progress.step == 0:
                self._begin(phase)
            self._run_phase(phase, report)
            self._finish(phase)
        self.supernet.space = self.space

    def _begin(self, phase: Phase) -> None:
        """Bring the net into the state that the phase begins with."""
        folded = self.supernet.is_folded
        if folded:
            phase.check_on_folded_net()
        if phase.sort_channels:
            sort_channels(self.supernet)
        if phase.normalization == "piece-affine" and not folded:
            self._average_affines(phase)
        elif phase.normalization == "batch":
            self.supernet.normalization = BatchNormalization()
        self._prepare(phase)

    def _prepare(self, phase: Phase) -> None:
        """What lives as long as a phase: how a step goes and how it changes the weights."""
        self._updater = Updater(self.recipe, phase, self.supernet, self.processes)
        own = update_macs(self.space, self.recipe.muon_of(phase))
        self._update_macs = self.processes.count * own
        taught = phase.distillation and phase.distill_from == "teacher"
        self._current = Step(
            supernet=self.supernet,
            parameters=self._updater.parameters,
            forward=forward_of(self.recipe, self.supernet),
            teach=self._teach if taught else None,
            phase=phase,
            loss=loss_of(self.recipe, phase),
            autocast=self._autocast,
        )

    def _autocast(self) -> contextlib.AbstractContextManager[None]:
        reduced = self.recipe.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=reduced)

    def _run_phase(self, phase: Phase, report: Report) -> None:
        steps = schedule.phase_steps(self.recipe, phase, len(self.images))
        stream = self.images.batches(self._plans(phase, steps))
        try:
            while self.progress.step < steps:
                started = time.perf_counter()
                batches = self._own_batches(phase, stream)
                self.progress.waiting += time.perf_counter() - started
                rate = schedule.learning_rate(phase, self.progress.step, steps)
                self._step(phase, steps, rate, batches)
                self.progress.step += 1
                self.progress.seconds += time.perf_counter() - started
                report(StepReport(phase, self.progress, steps, rate))
                stopping = self.stop.is_set()
                if self.progress.step % self.recipe.checkpoint_steps == 0 or stopping:
                    self._count_energy()
                    self._write()
                if stopping:
                    raise KeyboardInterrupt
        finally:
            if isinstance(stream, Generator):
                stream.close()  # ends its workers

    def _plans(self, phase: Phase, steps: int) -> Iterator[BatchPlan]:
        """This process's micro-batches of the steps that are left."""
        for step in range(self.progress.step, steps):
            resolution = self._archs(phase, step)[0].resolution
            plans = schedule.batch_plans(self.recipe, phase, step, resolution, len(self.images))
            yield from self.processes.own(plans)

    def _archs(self, phase: Phase, step: int) -> list[Architecture]:
        return schedule.sampled_subnets(self.recipe, phase, self.supernet.space, step)

    def _own_batches(self, phase: Phase, stream: Iterator[Batch]) -> list[Batch]:
        count = phase.micro_batches // self.processes.count
        return [
            Batch(b.x.to(self.device), b.labels.to(self.device))
            for b in itertools.islice(stream, count)
        ]

    def _step(self, phase: Phase, steps: int, rate: float, batches: list[Batch]) -> None:
        """One batch through the step's subnets."""
        step = self.progress.step
        archs = self._archs(phase, step)
        weights = schedule.loss_weights(phase, step, steps)
        done = list(self._pool.map(lambda b: self._current.gradients(b, archs, weights), batches))
        figures = [[d.loss for d in done], [d.accuracy for d in done]]
        (totals,) = self.processes.summed([torch.tensor(figures, dtype=torch.float64).sum(1)])
        assert totals is not None
        loss, accuracy = (totals / phase.micro_batches).tolist()
        norm = self._updater.collect(done)
        self._check_finite(phase, loss=loss, gradient_norm=norm)
        self._updater.update(rate, step)
        self.progress.images += self.recipe.batch_size
        image_macs = self._image_macs(phase, archs)
        self.progress.macs += self.recipe.batch_size * image_macs + self._update_macs
        self.progress.watch(loss, accuracy)

    def _teach(self, x: Tensor) -> Tensor:
        assert self.teacher is not None
        space, resolution = self.teacher.space, x.shape[-1]
        return self.teacher.run_path(x, resolution, space.variants(space.largest))

    def _image_macs(self, phase: Phase, archs: Sequence[Architecture]) -> int:
        """Training MACs of one image through a step."""
        space = self.teacher.space if self.teacher and self._current.teach else None
        return step_macs(
            self.supernet.space,
            archs,
            teacher=space.largest.at(archs[0].resolution) if space else None,
            teacher_space=space,
            share_prefix=phase.share_prefix,
        )

    def _check_finite(self, phase: Phase, **figures: float) -> None:
        for name, value in figures.items():
            if not math.isfinite(value):
                raise ValueError(
                    f"phase {phase.name!r}, step {self.progress.step}: the {name} is {value}; "
                    f"learning_rate {phase.learning_rate:g} may be too high"
                )

    def _average_affines(self, phase: Phase) -> None:
        """The start of a fold phase, counted as part of its cost."""
        started, rng = time.perf_counter(), python_random(self.recipe.seed, phase.name, "subnets")
        average_affines(self.supernet, self._calibration_batches(phase), rng)
        own = fold_start_macs(self.supernet.space, len(self.images))
        self.progress.macs += self.processes.count * own
        self.progress.seconds += time.perf_counter() - started

    def _calibration_batches(self, phase: Phase) -> Iterator[Tensor]:
        resolutions, count = self.supernet.space.resolutions, len(self.images)
        plans = schedule.calibration_plans(self.recipe, phase, resolutions, count)
        return (batch.x.to(self.device) for batch in self.images.batches(plans))

    def _finish(self, phase: Phase) -> None:
        self._updater.finish()
        self._count_energy()
        self.phases += (self.progress.account(phase),)
        if phase.name == self.recipe.teacher:
            self.teacher = copy.deepcopy(self.supernet).requires_grad_(False)
        self.progress = Progress(phase=self.progress.phase + 1)
        self._write()

    def _count_energy(self) -> None:
        if self._meter:
            self.progress.add(self._meter.since_last())

    def _write(self) -> None:
        if not self.processes.is_first:
            return
        Checkpoint(
            identity=self.identity,
            progress=self.progress,
            weights=self.supernet.state_dict(),
            updater=self._updater.state() if self.progress.step else {},
            teacher=self._trained_teacher(),
            phases=self.phases,
            settings=self.settings,
        ).write(self.path)

    def _trained_teacher(self) -> dict[str, Tensor]:
        """The weights of a teacher that is one of the phases' results."""
        named = {phase.name for phase in self.recipe.phases}
        known = self.teacher is not None and self.recipe.teacher in named
        return self.teacher.state_dict() if known and self.teacher else {}

    def _restore(self) -> None:
        saved = read_checkpoint(self.path, self.identity)
        if saved is None:
            return
        if (saved.progress.phase, saved.progress.step) > (len(self._to_do), 0):
            raise ValueError(
                f"checkpoint {self.path}: has gone on beyond the phase {self._to_do[-1].name!r}; "
                "give another --out"
            )
        self.progress, self.phases = saved.progress, saved.phases
        if saved.settings[-1:] == self.settings:
            self.settings = saved.settings
        else:
            self.settings = saved.settings + self.settings
        _load(self.supernet, saved.weights)
        if saved.teacher:
            (phase,) = (p for p in self.recipe.phases if p.name == self.recipe.teacher)
            self.teacher = channels_last(Supernet(schedule.phase_space(phase, self.space))).to(
                self.device
            )
            _load(self.teacher, saved.teacher)
            self.teacher.requires_grad_(False)
        if self.progress.step:
            self._prepare(self.recipe.phases[self.progress.phase])
            self._updater.load(saved.updater)


def _load(supernet: Supernet, weights: dict[str, Tensor]) -> None:
    """Weights and, for a folded net, the affines that come with them."""
    norm = PieceAffine.from_state(weights)
    supernet.normalization = norm if norm.values else BatchNormalization()
    supernet.to(next(iter(supernet.parameters())).device).load_state_dict(weights)
