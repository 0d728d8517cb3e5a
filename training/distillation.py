"""What a subnet is asked to match: the true labels, and the teacher's soft ones."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def distillation_loss(
    logits: Tensor,
    labels: Tensor,
    teacher_logits: Tensor | None,
    weight: float,
    label_smoothing: float,
) -> Tensor:
    """Cross-entropy with the labels plus `weight` times that with the teacher, over 1 + weight.

    Logits are [B, classes], labels [B]. This is Once-for-All's soft cross-entropy (Cai et al.,
    ICLR 2020, section 3.4), scaled so that `weight` does not change the size of the gradient.
    """
    loss = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    if teacher_logits is None or weight == 0.0:
        return loss
    soft = F.cross_entropy(logits, teacher_logits.softmax(1))
    return (loss + weight * soft) / (1.0 + weight)
