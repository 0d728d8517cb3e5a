"""Measures how long subnets take on this machine: each by itself, or by the pieces they share."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

from supernet.architecture import Architecture
from supernet.artifact import Artifact
from supernet.complexity import complexity
from supernet.extract import piece_names
from supernet.latency import LatencyTable
from supernet.model import Supernet
from training.evaluate import asked_for
from training.profiles.engines import Setting, open_engine
from training.profiles.parts import Parts
from training.profiles.portable.check import Check
from training.profiles.portable.machine import pinned
from training.profiles.portable.plan import Plan, measure
from training.profiles.portable.table import table_document

if TYPE_CHECKING:
    from training.profiles.portable.timing import Advance

RUNS = {"piece": 60, "subnet": 30}
FITTED, HELD_OUT = 6, 6
"""Whole subnets a resolution: to correct the sum of pieces by, and to check it on."""
_DEFAULT = Setting()


def profile(
    artifact: Artifact,
    device_class: str,
    plan: Plan | None = None,
    setting: Setting = _DEFAULT,
    *,
    runs: int | None = None,
    default_budget_ms: float | None = None,
    advance: Advance | None = None,
) -> tuple[LatencyTable, Check | None]:
    """A latency table of this machine: of every subnet of the catalog, unless `plan` says else.

    By pieces there is a check too: how well they predict whole subnets. The table's conditions
    say how it was measured. Raises `ValueError` for a setting that is not to be had here.
    """
    if plan is None:
        listed = list(artifact.manifest.catalog.subnets())
        plan = by_subnet(artifact.supernet, asked_for(listed, artifact.supernet.space))
    num_threads = torch.get_num_threads()
    try:
        with pinned(setting.num_threads) as cpus:
            parts = Parts(artifact.supernet, map(Architecture.parse, plan.subnets))
            engine = open_engine(parts, setting)
            measured = measure(plan, engine.timer, runs or RUNS[plan.by], advance)
    finally:
        torch.set_num_threads(num_threads)
    conditions = {
        "processor": engine.processor,
        "threads": str(setting.num_threads),
        "pinned": cpus,
        "engine": engine.name,
        "precision": setting.precision,
        "batch_size": str(setting.batch_size),
    }
    document = table_document(measured, device_class, artifact.manifest.artifact_hash, conditions)
    document["default_budget_ms"] = default_budget_ms
    return LatencyTable.model_validate(document), measured.check


def by_subnet(supernet: Supernet, archs: Iterable[Architecture]) -> Plan:
    """Each subnet timed whole."""
    return Plan({arch.id: (arch.resolution, piece_names(supernet, arch)) for arch in archs})


def by_piece(
    supernet: Supernet,
    archs: Iterable[Architecture],
    fitted: int = FITTED,
    held_out: int = HELD_OUT,
) -> Plan:
    """The pieces of all subnets, and of each resolution a few subnets whole.

    Those that are fitted are spread evenly by parameters, from the smallest to the largest; those
    held out are drawn from between them. At each resolution they are the same, where the same are
    listed. Raises `ValueError` for too few subnets.
    """
    found = list(archs)
    whole: tuple[list[str], list[str]] = ([], [])
    for resolution in dict.fromkeys(arch.resolution for arch in found):
        own = [arch for arch in found if arch.resolution == resolution]
        if len(own) < fitted + held_out:
            raise ValueError(
                f"by piece: expected at least {fitted + held_out} subnets a resolution, there are "
                f"{len(own)} at {resolution}: measure by subnet"
            )
        for ids, chosen in zip(whole, _spread(supernet, own, fitted, held_out), strict=True):
            ids += [arch.id for arch in chosen]
    return Plan(by_subnet(supernet, found).subnets, tuple(whole[0]), tuple(whole[1]))


def is_worth_pieces(archs: Iterable[Architecture]) -> bool:
    """Whether every resolution has so many subnets that their pieces are much less work."""
    counts: dict[int, int] = {}
    for arch in archs:
        counts[arch.resolution] = counts.get(arch.resolution, 0) + 1
    return bool(counts) and min(counts.values()) >= 4 * (FITTED + HELD_OUT)


def _spread(
    supernet: Supernet, archs: list[Architecture], fitted: int, held_out: int
) -> tuple[list[Architecture], list[Architecture]]:
    def size(arch: Architecture) -> tuple[int, Architecture]:
        return complexity(supernet.space, arch).parameters, arch

    in_order = sorted(archs, key=size)
    places = [round(i * (len(archs) - 1) / (fitted - 1)) for i in range(fitted)]
    others = [arch for place, arch in enumerate(in_order) if place not in places]
    rng, ends = random.Random(0), [round(i * len(others) / held_out) for i in range(held_out + 1)]
    drawn = [rng.choice(others[a:b]) for a, b in itertools.pairwise(ends)]
    return [in_order[place] for place in places], drawn
