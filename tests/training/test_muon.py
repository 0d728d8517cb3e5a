"""Muon: which weights it trains, that their updates are nearly orthogonal, and what it costs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from supernet.model import Supernet
from supernet.presets import PRESETS, design_space
from training.muon import MuonUpdater, matrices, update_macs
from training.recipe import Muon, Recipe
from training.start import untrained

MakeRecipe = Callable[..., Recipe]


def _supernet(make_recipe: MakeRecipe) -> Supernet:
    return untrained(make_recipe(), classes=10).supernet


def test_gates_classifier_and_depthwise_kernels_are_left_to_sgd(make_recipe: MakeRecipe) -> None:
    supernet = _supernet(make_recipe)
    names = {id(p): name for name, p in supernet.named_parameters()}
    found = {names[id(p)] for p in matrices(supernet)}
    assert "first_block.project.weight" in found
    assert "units.0.0.expand.weight" in found
    assert "final_expand.weight" in found
    assert not any(part in name for name in found for part in ("se.", "depthwise", "classifier"))
    assert all(p.shape[2:] == (1, 1) for p in matrices(supernet))


def test_an_update_is_nearly_orthogonal_and_follows_the_gradient(make_recipe: MakeRecipe) -> None:
    """All singular values of the change are of the size of the rate; SGD's differ by orders."""
    supernet = _supernet(make_recipe)
    parameters = matrices(supernet)
    before = [p.detach().clone() for p in parameters]
    generator = torch.Generator().manual_seed(0)
    for p in parameters:
        p.grad = torch.randn(p.shape, generator=generator)
        p.grad[:, 0] *= 100
    rate = 0.5
    MuonUpdater(parameters, Muon(learning_rate=rate)).update(0.1)
    for p, old in zip(parameters, before, strict=True):
        change = (p.detach() - old).flatten(1)
        values = torch.linalg.svdvals(change) / (0.1 * rate)
        values /= max(1, p.shape[0] / p.shape[1]) ** 0.5
        assert 0.3 < values.min() <= values.max() < 1.5
        assert p.grad is not None
        assert (change * p.grad.flatten(1)).sum() < 0


def test_several_updates_are_those_of_torch(make_recipe: MakeRecipe) -> None:
    """Whose iterations are in bfloat16."""
    parameters = matrices(_supernet(make_recipe))
    theirs = [p.detach().flatten(1).clone() for p in parameters]
    optimizer = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.5, ns_steps=3)
    ours = MuonUpdater(parameters, Muon(learning_rate=0.2, weight_decay=0.5, iterations=3))
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        for p, matrix in zip(parameters, theirs, strict=True):
            matrix.grad = torch.randn(matrix.shape, generator=generator)
            p.grad = matrix.grad.view(p.shape)
        optimizer.step()  # type: ignore[no-untyped-call]
        ours.update(0.1)
    for p, matrix in zip(parameters, theirs, strict=True):
        torch.testing.assert_close(p.detach().flatten(1), matrix, atol=2e-3, rtol=0)


def test_weights_without_a_gradient_only_decay(make_recipe: MakeRecipe) -> None:
    parameters = matrices(_supernet(make_recipe))
    before = [p.detach().clone() for p in parameters]
    MuonUpdater(parameters, Muon(learning_rate=1.0, weight_decay=0.5)).update(0.1)
    for p, old in zip(parameters, before, strict=True):
        torch.testing.assert_close(p.detach(), old * 0.95)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_macs_are_those_of_the_matrices_there_are(name: str) -> None:
    space = design_space(name)
    with torch.device("meta"):
        shapes = [sorted(p.shape[:2]) for p in matrices(Supernet(space))]
    by_hand = sum(2 * m * m * n + m**3 for m, n in shapes)
    assert update_macs(space, Muon(learning_rate=1.0, iterations=3)) == 3 * by_hand
