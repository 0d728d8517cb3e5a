"""The gradients of one micro-batch through a step's subnets. Touches nothing shared.

Knows nothing of schedules, optimizers or other processes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from supernet.architecture import Architecture
from supernet.model import Supernet
from supernet.skeleton import Path
from training.distillation import DIVERGENCES, Loss
from training.images.data import Batch
from training.recipe import Phase, Recipe

Forward = Callable[[Tensor, int, Path], Tensor]
"""Images [B, C, R, R], resolution, unit variants → logits [B, classes]."""
Teach = Callable[[Tensor], Tensor]
"""Images [B, C, R, R] → the teacher's logits [B, classes]."""


@dataclass(frozen=True, slots=True)
class Gradients:
    """Mean loss over the subnets, the first one's accuracy [0, 1], and the summed gradient of
    each parameter (None: no subnet uses it)."""

    loss: float
    accuracy: float
    values: tuple[Tensor | None, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """How the steps of a phase turn a batch into gradients of `parameters`.

    `forward` runs one path through `supernet`; `teach` is set where another net teaches.
    """

    supernet: Supernet
    parameters: Sequence[Tensor]
    forward: Forward
    teach: Teach | None
    phase: Phase
    loss: Loss
    autocast: Callable[[], AbstractContextManager[None]]

    def gradients(
        self, batch: Batch, archs: Sequence[Architecture], weights: Sequence[float]
    ) -> Gradients:
        """Forward and backward of every subnet, `weights` multiplying their losses."""
        with torch.no_grad(), self.autocast():
            soft = self.teach(batch.x) if self.teach else None
        sums: list[Tensor | None] = [None] * len(self.parameters)
        losses, accuracy, pending = [], 0.0, []
        for i, logits in self._logits(batch.x, archs):
            if i == 0:
                accuracy = (logits.argmax(1) == batch.labels).float().mean().item()
                if self.phase.distill_from == "first" and self.phase.distillation:
                    soft = logits.detach()
            taught = i > 0 or self.phase.distill_from == "teacher"
            loss = self.loss(logits, batch.labels, soft if taught else None)
            losses.append(loss.item())
            pending.append(loss * weights[i])
            if not self.phase.share_prefix:  # frees its activations before the next subnet
                self._accumulate(sums, pending.pop())
        if pending:
            self._accumulate(sums, torch.stack(pending).sum())
        return Gradients(sum(losses) / len(losses), accuracy, tuple(sums))

    def _logits(self, x: Tensor, archs: Sequence[Architecture]) -> Iterator[tuple[int, Tensor]]:
        """Each subnet's place in `archs` and its logits in float32, the first subnet first."""
        space, resolution = self.supernet.space, x.shape[-1]
        paths = [space.variants(arch) for arch in archs]
        if not self.phase.share_prefix:
            for i, path in enumerate(paths):
                with self.autocast():
                    logits = self.forward(x, resolution, path)
                yield i, logits.float()
            return
        with self.autocast():
            tree = self.supernet.run_paths(x, resolution, dict.fromkeys(paths))
        while True:
            with self.autocast():  # not around the yield: it would leak to whoever takes it
                found = next(tree, None)
            if found is None:
                return
            for i in (i for i, path in enumerate(paths) if path == found[0]):
                yield i, found[1].float()

    def _accumulate(self, sums: list[Tensor | None], loss: Tensor) -> None:
        found = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        for i, gradient in enumerate(found):
            if gradient is not None:
                old = sums[i]
                sums[i] = gradient if old is None else old + gradient


def forward_of(recipe: Recipe, supernet: Supernet) -> Forward:
    """Paths through `supernet`, compiled where the recipe asks for it.

    Each path at each resolution is a graph of its own. torch stops compiling after eight, with
    no more than a warning, and would train on uncompiled; so its limits are lifted.
    """
    if not recipe.compile:
        return supernet.run_path
    limits = torch._dynamo.config
    limits.recompile_limit = limits.accumulated_recompile_limit = sys.maxsize
    compiled: Forward = torch.compile(supernet.run_path, dynamic=False)
    return compiled


def loss_of(recipe: Recipe, phase: Phase) -> Loss:
    return Loss(
        recipe.label_smoothing,
        phase.label_weight,
        phase.distillation,
        DIVERGENCES[phase.divergence],
        summed=recipe.losses == "sum",
    )
