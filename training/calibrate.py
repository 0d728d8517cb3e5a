"""Batch-norm statistics from images: per subnet, or averaged per piece to start the fold phase."""

from __future__ import annotations

import random
from collections.abc import Iterable

import torch
from torch import Tensor

from supernet.architecture import Architecture
from supernet.design_space import DesignSpace
from supernet.model import Supernet
from supernet.normalization import (
    EPS,
    Convolution,
    Normalization,
    PieceAffine,
    PieceNorm,
    Position,
    SubnetStatistics,
)
from training.evaluate import Advance, by_resolution, told
from training.images.data import ImageSource, plans_in_order
from training.randomness import torch_generator

BATCH_SIZE = 500
CALIBRATION_IMAGES = 2000  # enough for batch-norm statistics (Cai et al., ICLR 2020)


class Moments:
    """Running mean and variance [C] of one layer's output over batches of equal weight."""

    def __init__(self, gamma: Tensor, beta: Tensor) -> None:
        self.gamma, self.beta = gamma, beta
        self.mean = torch.zeros_like(gamma)
        self.var = torch.zeros_like(gamma)
        self.batches = 0

    def add(self, mean: Tensor, var: Tensor) -> None:
        self.batches += 1
        self.mean += (mean - self.mean) / self.batches
        self.var += (var - self.var) / self.batches


class RecordingNormalization(Normalization):
    """Normalises by the batch and keeps the moments, by piece or by whole path."""

    def __init__(self, *, by_path: bool) -> None:
        super().__init__()
        self.by_path = by_path
        self.moments: dict[tuple[Position, str], Moments] = {}

    def at(self, position: Position) -> PieceNorm:
        place = position if self.by_path else Position(position.piece, ())

        def record(layer: str, conv: Convolution, x: Tensor) -> Tensor:
            moments = self.moments.setdefault((place, layer), Moments(conv.gamma, conv.beta))
            y = conv(x, conv.weight)
            # Moments come with the normalised output: var_mean is slow on channels-last tensors.
            y, mean, invstd = torch.native_batch_norm(
                y, conv.gamma, conv.beta, None, None, True, 0.0, EPS
            )
            moments.add(mean, (invstd**-2 - EPS).clamp_(min=0.0))
            return y

        return record


@torch.no_grad()
def check_pieces(space: DesignSpace) -> None:
    """Raise `ValueError` where there are too many pieces for each to have an affine."""
    if not space.can_be_listed:
        raise ValueError(
            f"design space {space.name!r}: has too many pieces to give each an affine; fold a net "
            "on a compound space, or train one subnet of this"
        )


def average_affines(supernet: Supernet, batches: Iterable[Tensor], rng: random.Random) -> None:
    """Give `supernet` one affine a piece: BN folded with moments averaged over contexts.

    Each batch [B, C, R, R], already at one of the space's resolutions, runs through random
    subnets, so that every unit variant is seen after several others. This start is poor on
    its own (facts: up to 50 points lost on the smallest subnet); the fold phase repairs it.
    """
    space = supernet.space
    check_pieces(space)
    recorder = RecordingNormalization(by_path=False)
    supernet.normalization = recorder
    for batch in batches:
        for arch in _covering(space, batch.shape[-1], rng):
            supernet(batch, arch)
    supernet.normalization = _affines(recorder)


def _covering(space: DesignSpace, resolution: int, rng: random.Random) -> list[Architecture]:
    """As many random subnets as there are depths, in which each unit takes every form once."""
    if space.only is not None:
        return [space.only]
    depths, units = space.depths, range(space.skeleton.unit_count)
    columns = [rng.sample(depths, len(depths)) for _ in units]
    return [Architecture(depths, resolution) for depths in zip(*columns, strict=True)]


def _affines(recorder: RecordingNormalization) -> PieceAffine:
    norm = PieceAffine()
    for (place, layer), moments in recorder.moments.items():
        scale = moments.gamma * torch.rsqrt(moments.var + EPS)
        norm.add(place.piece, layer, scale, moments.beta - moments.mean * scale)
    return norm


@torch.no_grad()
def calibrate(supernet: Supernet, batches: Iterable[Tensor], archs: Iterable[Architecture]) -> None:
    """Give `supernet` statistics for `archs`, all at one resolution, from `batches`.

    Each batch is [B, C, R, R]; about 2,000 images in all are enough (Cai et al., ICLR 2020).
    Statistics per subnet that are already there are kept, those shared by all subnets replaced.
    A folded net has none to measure: `ValueError`.
    """
    old = supernet.normalization
    if not supernet.has_batch_norm:
        raise ValueError("the net has no batch norm: there is nothing to calibrate")
    if isinstance(old, PieceAffine):
        raise ValueError("a folded net has no batch-norm statistics to calibrate")
    statistics = old if isinstance(old, SubnetStatistics) else SubnetStatistics()
    recorder = RecordingNormalization(by_path=True)
    supernet.normalization = recorder
    try:
        paths = [supernet.space.variants(arch) for arch in archs]
        for batch in batches:
            for _ in supernet.run_paths(batch, batch.shape[-1], paths):
                pass  # the recorder sees every layer on the way
        for (place, layer), moments in recorder.moments.items():
            statistics.add(place, layer, moments.mean, moments.var)
    finally:
        supernet.normalization = statistics if recorder.moments else old


def calibrate_from(
    supernet: Supernet,
    source: ImageSource,
    seed: int = 0,
    *,
    images: int = CALIBRATION_IMAGES,
    archs: Iterable[Architecture] | None = None,
    advance: Advance | None = None,
) -> None:
    """Statistics for `archs`, by default all that a catalog lists, from random images of `source`.

    The images are the same at every resolution. `advance` is told how many have been through.
    """
    generator = torch_generator(seed, "calibrate")
    chosen = torch.randperm(len(source), generator=generator)[:images]
    device = supernet.classifier.weight.device
    groups = by_resolution(archs if archs is not None else supernet.space.representatives())
    for resolution, group in groups.items():
        plans = plans_in_order(chosen, resolution, BATCH_SIZE)
        batches = (told(batch, advance).x.to(device) for batch in source.batches(plans))
        calibrate(supernet, batches, group)
