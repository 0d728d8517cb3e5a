"""Runs a recipe's phases over images, step by step, and can stop and go on at any step.

Knows nothing of evaluation, artifacts or the command line.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from supernet import manifest
from supernet.architecture import Architecture
from supernet.complexity import complexity
from supernet.importance import sort_channels
from supernet.layers import channels_last
from supernet.manifest import Preprocessing
from supernet.model import Supernet
from supernet.normalization import PieceAffine
from supernet.presets import design_space
from training import schedule
from training.augment import Transform, crop_and_flip
from training.calibrate import average_affines
from training.checkpoint import Checkpoint, Progress, read_checkpoint
from training.data import Images
from training.distillation import distillation_loss
from training.randomness import python_random, torch_generator
from training.recipe import Phase, Recipe

CALIBRATION_BATCHES = 24
CALIBRATION_BATCH_SIZE = 256


@dataclass(frozen=True, slots=True)
class _Task:
    """One subnet on one micro-batch: images [B, C, R, R], labels [B], teacher's logits."""

    arch: Architecture
    x: Tensor
    labels: Tensor
    soft: Tensor | None
    distillation: float


@dataclass(frozen=True, slots=True)
class _Done:
    """A task's loss, accuracy and gradients, one a trained parameter (None: not touched)."""

    loss: float
    accuracy: float
    gradients: tuple[Tensor | None, ...]


Report = Callable[[Phase, Progress, int, float], None]
"""Called after each step with the phase, the progress, the phase's steps, and the accuracy
[0, 1] of the step's first subnet on its batch."""


class Trainer:
    """One run: the supernet, the optimizer, the teacher, and how far it has come.

    `checkpoint` is the file to continue from where it exists and to write to. The same recipe
    and images give the same weights whether or not the run was interrupted.

    The subnets and micro-batches of a step run side by side on `num_threads` threads, each
    with one of torch's own: no barriers inside the small layers, which is faster than sharing
    every layer, and possible because the forward is stateless.
    """

    def __init__(
        self, recipe: Recipe, images: Images, checkpoint: Path, num_threads: int = 1
    ) -> None:
        torch.set_num_threads(1)
        self._pool = ThreadPoolExecutor(num_threads, thread_name_prefix="subnet")
        self.recipe, self.images, self.path = recipe, images, checkpoint
        self.space = design_space(recipe.design_space)
        self.transform = Transform(Preprocessing(mean=recipe.mean, std=recipe.std))
        self.progress = Progress()
        self.phases: tuple[manifest.Phase, ...] = ()
        self.teacher: Supernet | None = None
        with torch.random.fork_rng():
            torch.manual_seed(python_random(recipe.seed, "weights").getrandbits(63))
            self.supernet = channels_last(Supernet(self.space))
        self._restore()

    def run(self, report: Report) -> None:
        """Train through all phases that are left."""
        while self.progress.phase < len(self.recipe.phases):
            phase = self.recipe.phases[self.progress.phase]
            if self.progress.step == 0:
                self._begin(phase)
            self._run_phase(phase, report)
            self._finish(phase)

    def _begin(self, phase: Phase) -> None:
        if phase.sort_channels:
            sort_channels(self.supernet)
        folded = isinstance(self.supernet.normalization, PieceAffine)
        if phase.normalization == "piece-affine" and not folded:
            rng = python_random(self.recipe.seed, phase.name, "subnets")
            average_affines(self.supernet, self._calibration_batches(phase), rng)
        self.optimizer = self._new_optimizer()

    def _run_phase(self, phase: Phase, report: Report) -> None:
        steps = schedule.phase_steps(self.recipe, phase, len(self.images))
        while self.progress.step < steps:
            started = time.perf_counter()
            accuracy = self._step(phase, steps)
            self.progress.step += 1
            self.progress.seconds += time.perf_counter() - started
            report(phase, self.progress, steps, accuracy)
            if self.progress.step % self.recipe.checkpoint_steps == 0:
                self._write()

    def _finish(self, phase: Phase) -> None:
        entry = manifest.Phase(
            name=phase.name,
            epochs=phase.epochs,
            images=self.progress.images,
            macs=self.progress.macs,
            hours=round(self.progress.seconds / 3600, 4),
            train_loss=round(self.progress.loss, 4),
        )
        self.phases += (entry,)
        if phase.name == self.recipe.teacher:
            self.teacher = self._copy_of_supernet(self.supernet.state_dict())
        self.progress = Progress(phase=self.progress.phase + 1)
        self._write()

    def _step(self, phase: Phase, steps: int) -> float:
        """One batch through the step's subnets; returns the first one's accuracy on it."""
        step = self.progress.step
        for group in self.optimizer.param_groups:
            group["lr"] = schedule.learning_rate(phase, step, steps)
        archs = schedule.sampled_subnets(self.recipe, phase, self.space, step)
        work = self._work(phase, archs, *self._batch(phase, step, archs[0].resolution))
        done = list(self._pool.map(self._gradients, work))
        loss = sum(task.loss for task in done) / len(done)
        self._check_finite(phase, loss)
        self._update([task.gradients for task in done], phase.micro_batches)
        self.progress.images += self.recipe.batch_size
        self.progress.macs += sum(self._cost(phase, arch) for arch in archs)
        self.progress.loss += (0.02 if step else 1.0) * (loss - self.progress.loss)
        return sum(task.accuracy for task in done[: phase.micro_batches]) / phase.micro_batches

    def _work(
        self, phase: Phase, archs: list[Architecture], x: Tensor, labels: Tensor
    ) -> list[_Task]:
        """Every subnet on every micro-batch, with the teacher's logits where it teaches."""
        parts = list(
            zip(x.chunk(phase.micro_batches), labels.chunk(phase.micro_batches), strict=True)
        )
        taught = self.teacher is not None and phase.distillation > 0.0
        soft = list(self._pool.map(self._teach, (x for x, _ in parts))) if taught else None
        return [
            _Task(arch, x, labels, soft[i] if soft else None, phase.distillation)
            for arch in archs
            for i, (x, labels) in enumerate(parts)
        ]

    def _gradients(self, task: _Task) -> _Done:
        """Forward and backward of one subnet on one micro-batch, touching nothing shared."""
        logits = self.supernet(task.x, task.arch)
        loss = distillation_loss(
            logits, task.labels, task.soft, task.distillation, self.recipe.label_smoothing
        )
        gradients = torch.autograd.grad(loss, self._parameters, allow_unused=True)
        accuracy = (logits.argmax(1) == task.labels).float().mean().item()
        return _Done(loss.item(), accuracy, gradients)

    @torch.no_grad()
    def _update(self, gradients: list[tuple[Tensor | None, ...]], micro_batches: int) -> None:
        """Sum over subnets, average over micro-batches, in a fixed order; then step."""
        for parameter, *parts in zip(self._parameters, *gradients, strict=True):
            present = [part for part in parts if part is not None]
            parameter.grad = sum(present[1:], present[0]) / micro_batches if present else None
        if self.recipe.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters, self.recipe.clip_norm)
        self.optimizer.step()

    @torch.no_grad()
    def _teach(self, x: Tensor) -> Tensor:
        assert self.teacher is not None
        return self.teacher(x, self.space.largest.at(x.shape[-1]))  # type: ignore[no-any-return]

    def _cost(self, phase: Phase, arch: Architecture) -> int:
        """MACs of a batch: forward 1, backward 2; the teacher's forward shared by the subnets."""
        macs = 3 * complexity(self.space, arch).macs
        if phase.distillation:
            largest = self.space.largest.at(arch.resolution)
            macs += complexity(self.space, largest).macs // len(phase.subnets)
        return macs * self.recipe.batch_size

    def _batch(self, phase: Phase, step: int, resolution: int) -> tuple[Tensor, Tensor]:
        indices = schedule.batch_indices(self.recipe, phase, step, len(self.images))
        batch = self.images.take(indices)
        generator = torch_generator(self.recipe.seed, phase.name, "crop", step)
        pixels = crop_and_flip(batch.pixels, self.recipe.crop_padding, generator)
        return self.transform(pixels, resolution), batch.labels

    def _check_finite(self, phase: Phase, loss: float) -> None:
        if not math.isfinite(loss):
            raise ValueError(
                f"phase {phase.name!r}, step {self.progress.step}: the loss is {loss}; "
                f"learning_rate {phase.learning_rate} may be too high"
            )

    def _calibration_batches(self, phase: Phase) -> list[Tensor]:
        generator = torch_generator(self.recipe.seed, phase.name, "calibration")
        size = min(CALIBRATION_BATCH_SIZE, len(self.images))
        batches = []
        for i in range(CALIBRATION_BATCHES):
            indices = torch.randint(len(self.images), (size,), generator=generator)
            pixels = crop_and_flip(
                self.images.take(indices).pixels, self.recipe.crop_padding, generator
            )
            resolution = self.space.resolutions[i % len(self.space.resolutions)]
            batches.append(self.transform(pixels, resolution))
        return batches

    def _new_optimizer(self) -> torch.optim.SGD:
        """SGD with Nesterov momentum; weight decay on convolutions and the classifier only."""
        self._parameters = [
            p for name, p in self.supernet.named_parameters() if self._is_trained(name)
        ]
        weights = [p for p in self._parameters if p.ndim > 1]
        others = [p for p in self._parameters if p.ndim == 1]
        groups: list[dict[str, Any]] = [
            {"params": weights, "weight_decay": self.recipe.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        return torch.optim.SGD(groups, lr=0.0, momentum=self.recipe.momentum, nesterov=True)

    def _is_trained(self, name: str) -> bool:
        """A folded net's shared BN scale and shift have no part in its output any more."""
        folded = isinstance(self.supernet.normalization, PieceAffine)
        return not (folded and name.endswith((".gamma", ".beta")))

    def _copy_of_supernet(self, weights: dict[str, Tensor]) -> Supernet:
        copy = channels_last(Supernet(self.space))
        copy.load_state_dict(weights)
        return copy.requires_grad_(False)

    def _write(self) -> None:
        Checkpoint(
            recipe_sha256=self.recipe.sha256,
            progress=self.progress,
            folded=isinstance(self.supernet.normalization, PieceAffine),
            weights=self.supernet.state_dict(),
            optimizer=self.optimizer.state_dict() if self.progress.step else {},
            teacher=self.teacher.state_dict() if self.teacher else {},
            phases=self.phases,
        ).write(self.path)

    def _restore(self) -> None:
        saved = read_checkpoint(self.path, self.recipe.sha256)
        if saved is None:
            return
        self.progress, self.phases = saved.progress, saved.phases
        if saved.folded:
            self.supernet.normalization = PieceAffine.from_state(saved.weights)
        self.supernet.load_state_dict(saved.weights)
        if saved.teacher:
            self.teacher = self._copy_of_supernet(saved.teacher)
        self.optimizer = self._new_optimizer()
        if saved.optimizer:
            self.optimizer.load_state_dict(saved.optimizer)
