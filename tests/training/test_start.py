"""What a run begins with: seeded weights, an artifact's net, one subnet of it, new classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from supernet import artifact
from supernet.normalization import PieceAffine
from supernet.presets import design_space
from training.recipe import Recipe, read_recipe
from training.start import from_artifact, untrained

MakeRecipe = Callable[..., Recipe]
SUBNET = "d2-3@16"


def test_untrained_weights_follow_the_seed_and_outputs_the_classes(make_recipe: MakeRecipe) -> None:
    first, again = (untrained(make_recipe(), classes=7) for _ in range(2))
    other = untrained(make_recipe(seed=1), classes=7)
    weight = "first_conv.weight"
    assert torch.equal(first.supernet.state_dict()[weight], again.supernet.state_dict()[weight])
    assert not torch.equal(first.supernet.state_dict()[weight], other.supernet.state_dict()[weight])
    assert first.supernet.classifier.out_features == 7


def test_a_fold_phase_that_cannot_work_is_refused_before_anything_is_trained() -> None:
    fields = read_recipe("compofa-elastic").model_dump()
    fields["phases"][-1]["normalization"] = "piece-affine"
    recipe = Recipe.model_validate(fields)
    with pytest.raises(ValueError, match=r"phase 'compound-2': normalization: .* too many pieces"):
        untrained(recipe, classes=10)
    (*_, subnet) = design_space("fashion-mnist-mbv3-elastic").representatives()
    untrained(recipe, classes=10, subnet=subnet.id)


def test_one_subnet_alone_holds_only_its_weights(make_recipe: MakeRecipe) -> None:
    alone = untrained(make_recipe(), classes=10, subnet=SUBNET)
    assert [len(list(unit.children())) for unit in alone.supernet.units] == [2, 3]
    assert alone.supernet.space.largest.id == SUBNET
    assert "/" not in alone.name
    assert "@" not in alone.name


def test_a_subnet_of_an_artifact_computes_the_same_and_is_taught_by_the_whole(
    artifact_folder: Path,
) -> None:
    loaded, recipe = artifact.load(artifact_folder), read_recipe("fine-tune")
    start = from_artifact(loaded, recipe, SUBNET, classes=10)
    arch = start.supernet.space.largest
    x = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        start.supernet(x, arch), loaded.supernet(x, arch), atol=1e-5, rtol=1e-5
    )
    assert isinstance(start.supernet.normalization, PieceAffine)
    assert all(parameter.requires_grad for parameter in start.supernet.parameters())
    assert start.teacher is not None
    assert start.teacher.space == loaded.supernet.space
    assert not any(parameter.requires_grad for parameter in start.teacher.parameters())
    assert start.origin is not None
    assert loaded.manifest.artifact_hash in start.origin


def test_other_classes_need_a_new_classifier(artifact_folder: Path) -> None:
    recipe = read_recipe("fine-tune")
    with pytest.raises(ValueError, match="the images have 3 classes and the artifact 10"):
        from_artifact(artifact.load(artifact_folder), recipe, None, classes=3)
    phase = recipe.phases[0].model_copy(update={"distillation": 0.0})
    own = recipe.model_copy(update={"new_classifier": True, "teacher": None, "phases": (phase,)})
    start = from_artifact(artifact.load(artifact_folder), own, None, classes=3)
    arch = start.supernet.space.largest
    assert start.supernet(torch.zeros(2, 1, 16, 16), arch).shape == (2, 3)
    with pytest.raises(ValidationError, match="cannot teach classes it does not know"):
        Recipe.model_validate(recipe.model_dump() | {"new_classifier": True})


def test_a_subnet_that_is_not_of_the_space_is_named(artifact_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"subnet d9-9@16: expected 2 depths"):
        from_artifact(artifact.load(artifact_folder), read_recipe("fold"), "d9-9@16", classes=10)
