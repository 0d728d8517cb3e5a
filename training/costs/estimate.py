"""What a recipe will cost, said before it starts, beside the schedules it is compared with.

The MACs are exact expectations over what the recipe samples (`expectation`); the ledger
counts what was really drawn. Knows nothing of how a run goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from supernet.design_space import DesignSpace
from supernet.mobilenet import MobileNetSkeleton
from supernet.presets import design_space
from training import schedule
from training.costs.cost import fold_start_macs
from training.costs.expectation import expected_step_macs
from training.muon import update_macs
from training.recipe import Phase, Recipe, read_recipe

PUBLISHED = {"OFA": "imagenet-ofa", "CompOFA": "imagenet-compofa"}
"""The recipes that hold the published schedules; their fold phases are ours."""
PUBLISHED_TEACHER_EPOCHS = 180


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a phase or of a whole schedule: passes over the training images, images, and MACs."""

    name: str
    epochs: float
    images: int
    macs: int

    @classmethod
    def sum(cls, name: str, parts: Sequence[Cost]) -> Cost:
        figures = ((part.epochs, part.images, part.macs) for part in parts)
        return cls(name, *map(sum, zip(*figures, strict=True)))


@dataclass(frozen=True, slots=True)
class Estimate:
    """A recipe's phases, and what OFA's and CompOFA's schedules cost at the same epochs.

    `published` is empty where there is nothing to compare: the recipe trains no net from its
    beginning, or its space is not made of five units.
    """

    phases: tuple[Cost, ...]
    published: tuple[Cost, ...]

    @property
    def total(self) -> Cost:
        return Cost.sum("in all", self.phases)


def estimate(
    recipe: Recipe,
    train_images: int,
    *,
    space: DesignSpace | None = None,
    teacher_space: DesignSpace | None = None,
    folded: bool = False,
    processes: int = 1,
) -> Estimate:
    """What `recipe` costs on so many training images.

    `space` is the run's own, by default the preset that the recipe names; `teacher_space` is
    that of a teacher which is there from the beginning; `folded` says that the net it begins with
    is; what each of several `processes` does by itself counts as often as it is done. Raises
    `ValueError` where a recipe that names no space is given none.
    """
    if space is None and recipe.design_space is None:
        raise ValueError(f"recipe {recipe.name}: has no design_space to estimate the cost on")
    own = space or design_space(recipe.design_space or "")
    costs = []
    for phase, macs in _macs_of_an_image(recipe, recipe.phases, own, teacher_space):
        steps = schedule.phase_steps(recipe, phase, train_images)
        images = steps * recipe.batch_size
        repeated = steps * update_macs(own, recipe.muon_of(phase))
        if phase.normalization == "piece-affine" and not folded:
            repeated += fold_start_macs(schedule.phase_space(phase, own), train_images)
            folded = True
        total = processes * repeated + round(images * macs)
        costs.append(Cost(phase.name, phase.epochs, images, total))
    rivals = published(own, comparable_epochs(recipe), train_images, recipe.train_resolutions)
    return Estimate(tuple(costs), rivals)


def _macs_of_an_image(
    recipe: Recipe,
    phases: Sequence[Phase],
    own: DesignSpace,
    teacher_space: DesignSpace | None = None,
) -> Iterator[tuple[Phase, float]]:
    """Each phase with the mean MACs of an image in its steps."""
    for phase in phases:
        space = schedule.phase_space(phase, own)
        taught = phase.distillation and phase.distill_from == "teacher"
        teaching = teacher_space if taught else None
        resolutions = schedule.train_resolutions(recipe, phase, space)
        yield phase, expected_step_macs(space, phase, teaching, resolutions)
        if phase.name == recipe.teacher:
            teacher_space = space


def comparable_epochs(recipe: Recipe) -> float:
    """What stands against the published 180 epochs of a teacher: the epochs of the recipe's own
    teacher phase; without one, all its epochs but those of fold phases."""
    teacher = [phase.epochs for phase in recipe.phases if phase.name == recipe.teacher]
    return sum(teacher or [p.epochs for p in recipe.phases if p.normalization == "batch"])


def published(
    space: DesignSpace, epochs: float, train_images: int, train_resolutions: tuple[int, ...] = ()
) -> tuple[Cost, ...]:
    """OFA's and CompOFA's schedules on the skeleton of `space`, all their epochs multiplied by
    `epochs` / 180, at the resolutions given or else those of `space`."""
    comparable = isinstance(space.skeleton, MobileNetSkeleton) and space.skeleton.unit_count == 5
    if not epochs or not comparable or space.only is not None:
        return ()
    scale = epochs / PUBLISHED_TEACHER_EPOCHS
    same = {"skeleton": space.skeleton, "resolutions": space.resolutions}
    costs = []
    for name, shipped in PUBLISHED.items():
        sizes = {"train_resolutions": train_resolutions}
        recipe = read_recipe(shipped).model_copy(update=sizes)
        own = design_space(recipe.design_space or "").model_copy(update=same)
        parts = []
        theirs = [phase for phase in recipe.phases if phase.normalization == "batch"]
        for phase, macs in _macs_of_an_image(recipe, theirs, own):
            images = round(phase.epochs * scale * train_images)
            parts.append(Cost(phase.name, phase.epochs * scale, images, round(images * macs)))
        costs.append(Cost.sum(name, parts))
    return tuple(costs)


def print_estimate(
    recipe: Recipe,
    train_images: int,
    console: Console,
    *,
    space: DesignSpace | None = None,
    teacher_space: DesignSpace | None = None,
    folded: bool = False,
    macs_per_second: float | None = None,
    processes: int = 1,
) -> Estimate:
    """`estimate`, printed: a row a phase, the sum, and the published schedules beside it.

    Hours are told where it is known how fast this machine trains (`training.costs.rate`).
    """
    found = estimate(
        recipe,
        train_images,
        space=space,
        teacher_space=teacher_space,
        folded=folded,
        processes=processes,
    )
    table = Table(title=f"What {recipe.name} will cost")
    for heading in ("phase", "epochs", "images", "MACs"):
        table.add_column(heading, justify="left" if heading == "phase" else "right")
    if macs_per_second:
        table.add_column("hours, roughly", justify="right")

    def add(name: str, cost: Cost) -> None:
        hours = [f"{cost.macs / macs_per_second / 3600:.2g}"] if macs_per_second else []
        macs = readable_macs(cost.macs)
        table.add_row(name, f"{cost.epochs:.4g}", f"{cost.images:,}", macs, *hours)

    for cost in found.phases:
        add(cost.name, cost)
    table.add_section()
    add("in all", found.total)
    console.print(table)
    print_published(found.published, found.total.macs, console)
    return found


def print_published(costs: Sequence[Cost], macs: int, console: Console) -> None:
    """A line for each published schedule, beside `macs`, those of the run."""
    for cost in costs:
        ratio = f"{readable_macs(cost.macs)} MACs, {cost.macs / macs:.2f}x"
        console.print(f"{cost.name}'s schedule for the same epochs: {ratio}", highlight=False)


def readable_macs(macs: float) -> str:
    """For instance `80.7 T`."""
    for prefix in ("", "k", "M", "G", "T", "P", "E"):
        if macs < 1000 or prefix == "E":
            break
        macs /= 1000
    return f"{macs:.3g} {prefix}".rstrip()
