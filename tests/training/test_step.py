"""One micro-batch through a step's subnets: who teaches whom, and equal gradients either way."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import torch

from supernet.architecture import Architecture
from supernet.design_space import DesignSpace
from supernet.model import Supernet
from training.distillation import Loss, soft_cross_entropy
from training.images.data import Batch
from training.recipe import Phase, Recipe
from training.step import Gradients, Step, forward_of

MakeRecipe = Callable[..., Recipe]

SMALL, LARGE = Architecture((2, 2), 16), Architecture((4, 4), 16)


@pytest.fixture
def supernet(space: DesignSpace) -> Supernet:
    torch.manual_seed(0)
    return Supernet(space)


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    return Batch(torch.randn(8, 1, 16, 16, generator=generator), torch.arange(8))


def _gradients(
    supernet: Supernet,
    batch: Batch,
    archs: list[Architecture],
    weights: list[float] | None = None,
    teach: Any = None,
    **fields: Any,
) -> Gradients:
    settings: dict[str, Any] = {
        "name": "p", "epochs": 1, "learning_rate": 0.1, "subnets": ("largest",) * len(archs)
    }  # fmt: skip
    phase = Phase.model_validate(settings | fields)
    loss = Loss(0.0, phase.label_weight, phase.distillation, soft_cross_entropy)
    parameters = list(supernet.parameters())
    step = Step(supernet, parameters, supernet.run_path, teach, phase, loss, contextlib.nullcontext)
    return step.gradients(batch, archs, weights or [1.0] * len(archs))


def _assert_close(found: Gradients, expected: Gradients) -> None:
    assert found.loss == pytest.approx(expected.loss, abs=1e-5)
    for a, b in zip(found.values, expected.values, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("in_place", [False, True])
def test_sharing_the_prefix_changes_no_gradient(
    supernet: Supernet, batch: Batch, in_place: bool
) -> None:
    fields: dict[str, Any] = {"distillation": 1.0, "distill_from": "first"} if in_place else {}
    archs = [LARGE, SMALL, Architecture((4, 2), 16), SMALL]
    apart = _gradients(supernet, batch, archs, **fields)
    together = _gradients(supernet, batch, archs, share_prefix=True, **fields)
    _assert_close(together, apart)


def test_gradients_are_the_sum_over_subnets_by_weight(supernet: Supernet, batch: Batch) -> None:
    both = _gradients(supernet, batch, [LARGE, SMALL], [1.0, 0.25])
    large, small = (_gradients(supernet, batch, [arch]) for arch in (LARGE, SMALL))
    for found, a, b in zip(both.values, large.values, small.values, strict=True):
        if found is not None and a is not None:
            torch.testing.assert_close(found, a + 0.25 * b if b is not None else a)


def test_the_first_teaches_in_place_and_learns_from_the_labels_alone(
    supernet: Supernet, batch: Batch
) -> None:
    """Nothing flows back from a student into the logits that taught it."""
    fields: dict[str, Any] = {"distillation": 1.0, "distill_from": "first", "label_weight": 0.0}
    with torch.no_grad():
        soft = supernet(batch.x, LARGE)
    together = _gradients(supernet, batch, [LARGE, SMALL], **fields)
    teacher = _gradients(supernet, batch, [LARGE])
    student = _gradients(
        supernet, batch, [SMALL], teach=lambda _: soft, distillation=1.0, label_weight=0.0
    )
    for found, a, b in zip(together.values, teacher.values, student.values, strict=True):
        if found is not None and a is not None:
            torch.testing.assert_close(found, a + b if b is not None else a, rtol=1e-4, atol=1e-6)
    assert together.loss == pytest.approx((teacher.loss + student.loss) / 2, abs=1e-5)


def test_unused_parameters_have_no_gradient(supernet: Supernet, batch: Batch) -> None:
    found = _gradients(supernet, batch, [SMALL])
    names = [name for name, _ in supernet.named_parameters()]
    unused = {n for n, g in zip(names, found.values, strict=True) if g is None}
    assert unused == {n for n in names if n.startswith(("units.0.2", "units.0.3", "units.1.2",
                                                       "units.1.3"))}  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")  # torch's own
def test_a_compiled_forward_gives_the_same_gradients(supernet: Supernet, batch: Batch) -> None:
    eager = _gradients(supernet, batch, [LARGE])
    compiled = torch.compile(supernet.run_path, dynamic=False)
    phase = Phase(name="p", epochs=1, learning_rate=0.1, subnets=("largest",))
    step = Step(
        supernet, list(supernet.parameters()), compiled, None, phase,
        Loss(0.0, 1.0, 0.0, soft_cross_entropy), contextlib.nullcontext,
    )  # fmt: skip
    _assert_close(step.gradients(batch, [LARGE], [1.0]), eager)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")  # torch's own
def test_more_paths_than_torch_would_compile_are_compiled(
    make_recipe: MakeRecipe, supernet: Supernet, batch: Batch
) -> None:
    """It stops after eight and says so in a warning, which is an error here."""
    forward = forward_of(make_recipe(compile=True), supernet)
    archs = [arch for arch in supernet.space.enumerate() if arch.resolution == batch.x.shape[-1]]
    assert len(archs) > 8
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    with torch.no_grad():
        for arch in archs:
            forward(batch.x, arch.resolution, supernet.space.variants(arch))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == len(archs)
