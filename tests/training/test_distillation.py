"""Losses: the weights are a mean, and the divergences are what the papers say."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from training.distillation import Loss, alpha_divergence, soft_cross_entropy

LABELS = torch.tensor([0, 2, 1])


def _logits(seed: int, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(3, 4, generator=torch.Generator().manual_seed(seed))


def _gradient(divergence: object, student: Tensor, teacher: Tensor) -> Tensor:
    assert callable(divergence)
    student = student.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(divergence(student, teacher), student)
    return gradient


@pytest.mark.parametrize("label_weight", [0.0, 1.0])
@pytest.mark.parametrize("distillation", [1.0, 3.0])
def test_loss_is_a_weighted_mean(label_weight: float, distillation: float) -> None:
    loss = Loss(0.1, label_weight, distillation, soft_cross_entropy)
    hard = F.cross_entropy(_logits(0), LABELS, label_smoothing=0.1)
    soft = -(_logits(1).softmax(1) * _logits(0).log_softmax(1)).sum(1).mean()
    expected = (label_weight * hard + distillation * soft) / (label_weight + distillation)
    torch.testing.assert_close(loss(_logits(0), LABELS, _logits(1)), expected)
    torch.testing.assert_close(loss(_logits(0), LABELS), hard)


@given(seed=st.integers(0, 1000))
def test_alpha_divergence_pulls_nowhere_once_student_and_teacher_agree(seed: int) -> None:
    same = _logits(seed)
    assert _gradient(alpha_divergence, same, same).abs().max() < 1e-6
    assert _gradient(alpha_divergence, same, _logits(seed + 1)).abs().max() > 1e-4


def test_where_the_teacher_is_surer_it_is_the_kullback_leibler_divergence() -> None:
    """At alpha 1 the gradient is that of KL(teacher, student), which is soft cross-entropy's."""
    student = torch.tensor([[0.5, 0.0, 0.0, 0.0]])
    teacher = torch.tensor([[0.0, 0.0, 0.0, -9.0]])
    kl_to_teacher = _kl(teacher, student)
    reverse = _divergence(teacher, student, alpha=-1.0)
    alpha_is_one = bool(kl_to_teacher > reverse)
    found = _gradient(alpha_divergence, student, teacher)
    soft = _gradient(soft_cross_entropy, student, teacher)
    assert torch.allclose(found, soft, atol=1e-6) == alpha_is_one


def test_where_the_student_is_wrongly_sure_the_gradient_is_bounded() -> None:
    """The ratio at alpha -1 is clipped, so that one image cannot throw the weights off."""
    student = torch.tensor([[30.0, 0.0, 0.0, 0.0]])
    teacher = torch.tensor([[-30.0, 0.0, 0.0, 0.0]])
    gradient = _gradient(alpha_divergence, student, teacher)
    assert gradient.isfinite().all()
    assert gradient.abs().max() <= 10.0


def test_unclipped_gradient_is_the_derivative_of_the_divergence() -> None:
    """Near the teacher no ratio reaches the clip: compare with numeric derivatives."""
    teacher = _logits(3, scale=0.3).double()
    student = teacher + 0.05 * _logits(4).double()
    found = _gradient(alpha_divergence, student, teacher)
    step = 1e-5
    for i in range(4):
        moved = [student.clone(), student.clone()]
        moved[0][0, i] -= step
        moved[1][0, i] += step
        low, high = (_larger(m[:1], teacher[:1]) for m in moved)
        assert found[0, i].item() * 3 == pytest.approx((high - low) / (2 * step), abs=1e-4)


def _kl(teacher: Tensor, student: Tensor) -> float:
    p, q = teacher.softmax(1), student.softmax(1)
    return float((p * (p / q).log()).sum())


def _divergence(teacher: Tensor, student: Tensor, alpha: float) -> float:
    p, q = teacher.softmax(1), student.softmax(1)
    return float((q * ((p / q) ** alpha - 1)).sum() / (alpha * (alpha - 1)))


def _larger(student: Tensor, teacher: Tensor) -> float:
    return max(_kl(teacher, student), _divergence(teacher, student, alpha=-1.0))
