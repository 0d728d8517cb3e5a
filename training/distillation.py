"""What a subnet is asked to match: the true labels, and a teacher's soft ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

ALPHAS = (-1.0, 1.0)
CLIP = 5.0

Divergence = Callable[[Tensor, Tensor], Tensor]
"""(student's logits [B, classes], teacher's logits [B, classes]) → mean over the batch."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Cross-entropy with the labels and divergence from a teacher, by their weights.

    Their mean, so that weights do not change the size of the gradient, or with `summed` their
    sum: with both weights at 1 and soft cross-entropy that is Once-for-All's (Cai et al., ICLR
    2020, section 3.4).
    """

    label_smoothing: float
    label_weight: float
    distillation: float
    divergence: Divergence
    summed: bool = False

    def __call__(self, logits: Tensor, labels: Tensor, soft: Tensor | None = None) -> Tensor:
        """The loss of `logits` [B, classes]; only the labels [B] count without a teacher's
        logits `soft` [B, classes]."""
        if soft is None or self.distillation == 0.0:
            return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        loss = self.distillation * self.divergence(logits, soft)
        if self.label_weight:
            hard = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
            loss = loss + self.label_weight * hard
        return loss if self.summed else loss / (self.label_weight + self.distillation)


def soft_cross_entropy(logits: Tensor, soft: Tensor) -> Tensor:
    return F.cross_entropy(logits, soft.softmax(1))


def alpha_divergence(logits: Tensor, soft: Tensor) -> Tensor:
    """AlphaNet's adaptive alpha-divergence (Wang et al., ICML 2021, equations 5 and 6).

    For each image the larger of the divergences at both alphas: the negative one punishes
    overestimating, the positive one underestimating the teacher's uncertainty. The gradient is
    the clipped one of the paper; the value returned is what has that gradient, up to a constant.
    """
    student_log, teacher_log = logits.log_softmax(1), soft.log_softmax(1)
    values, surrogates = zip(
        *(_alpha_terms(student_log, teacher_log, alpha) for alpha in ALPHAS), strict=True
    )
    larger = torch.stack(values).argmax(0, keepdim=True)
    return torch.stack(surrogates).gather(0, larger).mean()


def _alpha_terms(student_log: Tensor, teacher_log: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """The divergence of each image [B], and a surrogate [B] with its clipped gradient.

    D = E_q[f(p/q)] with f(t) = (t^a - 1) / (a (a - 1)), and f(t) = t log t at a = 1; its gradient
    is -E_q[r(p/q) grad log q] with r(t) = t f'(t) - f(t).
    """
    if alpha == 1.0:  # Kullback-Leibler, written so that a certain student gives no 0 * infinity
        p = teacher_log.exp()
        return (p * (teacher_log - student_log.detach())).sum(1), -(p * student_log).sum(1)
    log_ratio = teacher_log - student_log.detach()
    power = (alpha * log_ratio).clamp(max=math.log(CLIP)).exp()
    base = 1.0 / (alpha * (alpha - 1.0))
    q = student_log.detach().exp()
    return (q * (power - 1.0) * base).sum(1), -(q * (power / alpha + base) * student_log).sum(1)


DIVERGENCES: dict[str, Divergence] = {
    "cross-entropy": soft_cross_entropy,
    "alpha": alpha_divergence,
}
