"""What a run begins with: an untrained net, or the net of an artifact, whole or one subnet."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass

import torch
from torch import nn

from supernet.architecture import Architecture
from supernet.artifact import Artifact
from supernet.design_space import DesignSpace
from supernet.model import Supernet
from supernet.narrow import narrow
from supernet.normalization import BatchNormalization
from supernet.presets import design_space
from training.calibrate import check_pieces
from training.randomness import draw_seed
from training.recipe import START, Recipe
from training.schedule import phase_space


@dataclass(frozen=True, slots=True)
class Start:
    """The net to train, a teacher that is already there, and what the result is called.

    `identity` tells this start from others that the same recipe may have, so that a run does not
    go on from a checkpoint that began elsewhere; `origin` is the artifact it came from, for the
    ledger.
    """

    supernet: Supernet
    teacher: Supernet | None
    name: str
    identity: str
    origin: str | None = None


def untrained(recipe: Recipe, classes: int, subnet: str | None = None) -> Start:
    """A net on the recipe's design space with `classes` outputs; with a subnet's id, that subnet
    alone, as the rival of the one cut from a supernet."""
    assert recipe.design_space is not None
    if classes < 2:
        raise ValueError("the images have only one class: expected at least 2")
    space = design_space(recipe.design_space)
    skeleton = space.skeleton.model_copy(update={"classes": classes})
    space = space.model_copy(update={"skeleton": skeleton})
    if subnet is not None:
        space = space.narrowed(Architecture.parse(subnet))
    _check_pieces(recipe, space)
    with torch.random.fork_rng():
        torch.manual_seed(draw_seed(recipe.seed, "weights"))
        supernet = Supernet(space)
    return Start(supernet, None, _file_name(space.name), subnet or "all")


def from_artifact(artifact: Artifact, recipe: Recipe, subnet: str | None, classes: int) -> Start:
    """The artifact's net, or only its subnet with the id `subnet`, to be trained on.

    Raises `ValueError` where the images have other classes and the recipe does not ask for a
    `new_classifier`, and where the subnet is not of the space.
    """
    supernet, identity = artifact.supernet, artifact.manifest.artifact_hash
    name, origin = (
        artifact.manifest.name,
        f"{artifact.manifest.name} {artifact.manifest.artifact_hash}",
    )
    teacher = _teaching(supernet) if recipe.teacher == START else None
    if subnet is not None:
        arch = Architecture.parse(subnet)
        supernet.space.check(arch)
        if not supernet.is_folded:
            supernet.normalization = BatchNormalization()  # training measures statistics anew
        supernet, identity = narrow(supernet, arch), f"{identity}/{subnet}"
        name = _file_name(f"{name}:{subnet}")
    _check_same_space(recipe, artifact.manifest.design_space)
    known = supernet.space.skeleton.classes
    if recipe.new_classifier:
        supernet = _with_classes(supernet, classes, draw_seed(recipe.seed, "classifier"))
    elif classes != known:
        raise ValueError(
            f"the images have {classes} classes and the artifact {known}: expected the same, or a "
            "recipe with new_classifier = true"
        )
    recipe.check_space(supernet.space)
    _check_pieces(recipe, supernet.space)
    return Start(supernet.train().requires_grad_(True), teacher, name, identity, origin)


def _check_pieces(recipe: Recipe, space: DesignSpace) -> None:
    """Told before anything is trained rather than when the phase's turn comes."""
    for phase in recipe.phases:
        if phase.normalization == "piece-affine":
            try:
                check_pieces(phase_space(phase, space))
            except ValueError as error:
                raise ValueError(f"phase {phase.name!r}: normalization: {error}") from None


def _check_same_space(recipe: Recipe, space: DesignSpace) -> None:
    """The recipe's own space, if it has one, is the artifact's but for name and classes."""
    if recipe.design_space is None:
        return
    skeleton = design_space(recipe.design_space).skeleton
    classes = {"skeleton": skeleton.model_copy(update={"classes": space.skeleton.classes})}
    own = design_space(recipe.design_space).model_copy(update=classes | {"name": space.name})
    if own != space:
        raise ValueError(
            f"recipe {recipe.name}: its design_space {recipe.design_space!r} is not the "
            f"artifact's, {space.name!r}"
        )


def _file_name(name: str) -> str:
    """An artifact's name is also a path and a model's name: no signs that mean something there."""
    return re.sub(r"[:/@]", "-", name)


def _teaching(supernet: Supernet) -> Supernet:
    """A frozen copy; without affines of its own it normalises by the batch, as in training."""
    teacher = copy.deepcopy(supernet)
    if not teacher.is_folded:
        teacher.normalization = BatchNormalization()
    return teacher.requires_grad_(False)


def _with_classes(supernet: Supernet, classes: int, seed: int) -> Supernet:
    """The net with a new, untrained last layer."""
    skeleton = supernet.space.skeleton.model_copy(update={"classes": classes})
    changed = copy.deepcopy(supernet)
    changed.space = supernet.space.model_copy(update={"skeleton": skeleton})
    changed.classifier = nn.Linear(supernet.classifier.in_features, classes)
    generator = torch.Generator().manual_seed(seed)
    nn.init.normal_(changed.classifier.weight, std=0.01, generator=generator)
    nn.init.zeros_(changed.classifier.bias)
    return changed
