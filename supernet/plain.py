"""Plain modules that subnets are cut out as, beside those of torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SqueezeGate(nn.Module):
    """Squeeze-and-excitation at a fixed width."""

    def __init__(self, reduce: nn.Conv2d, expand: nn.Conv2d) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), reduce, nn.ReLU(), expand, nn.Hardsigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.gate(x)
        return x * gate


class Shortcut(nn.Module):
    """A body with its input added to its output."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return x + y


def plain_conv(weight: Tensor, bias: Tensor | None, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution with copies of these, padded by half its kernel."""
    out_channels, per_group, kernel, _ = weight.shape
    module: nn.Conv2d = nn.utils.skip_init(  # type: ignore[no-untyped-call]
        nn.Conv2d, per_group * groups, out_channels, kernel,
        stride=stride, padding=kernel // 2, groups=groups, bias=bias is not None,
    )  # fmt: skip
    with torch.no_grad():
        module.weight.copy_(weight)
        if module.bias is not None and bias is not None:
            module.bias.copy_(bias)
    return module.requires_grad_(False)


def plain_linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A linear layer with copies of these."""
    module: nn.Linear = nn.utils.skip_init(  # type: ignore[no-untyped-call]
        nn.Linear, weight.shape[1], weight.shape[0]
    )
    with torch.no_grad():
        module.weight.copy_(weight)
        module.bias.copy_(bias)
    return module.requires_grad_(False)
