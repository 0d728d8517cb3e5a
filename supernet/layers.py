"""Layers of MobileNets whose active size is an argument: they slice shared weights, stateless."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.mobilenet import Activation, BlockShape, make_divisible
from supernet.normalization import Convolution, PieceNorm

Module = TypeVar("Module", bound=nn.Module)
_ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "h_swish": F.hardswish,
}


def channels_last(module: Module) -> Module:
    """The module with its convolutions' weights stored channels last, which CPUs run fastest."""
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return module


def channels_last_images(x: Tensor) -> Tensor:
    """Images [B, C, H, W] stored channels last. Says so in the strides of grey ones too, where
    `contiguous` sees no difference, and convolutions would go on channels first."""
    x = x.contiguous(memory_format=torch.channels_last)
    _, channels, height, width = x.shape
    return x.as_strided(x.shape, (channels * height * width, 1, channels * width, channels))


def activate(x: Tensor, activation: Activation) -> Tensor:
    return _ACTIVATIONS[activation](x)


class ElasticConv(nn.Module):
    """A convolution stored at its largest, with the BN scale and shift all subnets share.

    Slicing keeps the first channels and the centre of the kernel. `depthwise` convolutions
    take their channel count from the input.

    With `kernel_transform` a smaller kernel is reached step by step, 7 → 5 → 3: each step
    multiplies the centre, flattened, by a matrix that all channels share, `transforms` 5
    [25, 25] and 3 [9, 9] (Cai et al., ICLR 2020, section 3.3). They start as the identity,
    which is the centre alone.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, *,
        depthwise: bool = False, kernel_transform: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.stride, self.depthwise = stride, depthwise
        steps = range(kernel - 2, 1, -2) if kernel_transform else ()
        self.transforms = nn.ParameterDict({str(k): nn.Parameter(torch.eye(k * k)) for k in steps})
        self.weight = nn.Parameter(
            torch.empty(out_channels, 1 if depthwise else in_channels, kernel, kernel)
        )
        self.gamma = nn.Parameter(torch.ones(out_channels))
        self.beta = nn.Parameter(torch.zeros(out_channels))
        nn.init.normal_(self.weight, std=math.sqrt(2 / (kernel * kernel * out_channels)))

    def sliced(self, in_channels: int, out_channels: int, kernel: int) -> Convolution:
        """This convolution at the given size; views of the shared weights, transforms apart."""
        inputs = 1 if self.depthwise else in_channels
        return Convolution(
            weight=self._reduced(self.weight[:out_channels, :inputs], kernel),
            gamma=self.gamma[:out_channels],
            beta=self.beta[:out_channels],
            stride=self.stride,
            groups=out_channels if self.depthwise else 1,
        )

    def _reduced(self, weight: Tensor, kernel: int) -> Tensor:
        """Weights [out, in, k, k] at a kernel of at most k."""
        if self.transforms:
            for size in range(weight.shape[-1] - 2, kernel - 1, -2):
                centre = _centre(weight, size)
                weight = F.linear(centre.flatten(2), self.transforms[str(size)]).view_as(centre)
        return _centre(weight, kernel)


def _centre(weight: Tensor, kernel: int) -> Tensor:
    edge = (weight.shape[-1] - kernel) // 2
    return weight[..., edge : edge + kernel, edge : edge + kernel]


class SqueezeExcitation(nn.Module):
    """Channel attention at the active width, hidden width a quarter of it in eights."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = make_divisible(channels // 4)
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.expand = nn.Conv2d(hidden, channels, 1)

    def sliced(self, channels: int, hidden: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Weights and biases of both 1x1 convolutions at the given widths."""
        return (
            self.reduce.weight[:hidden, :channels],
            self.reduce.bias[:hidden],  # type: ignore[index]
            self.expand.weight[:channels, :hidden],
            self.expand.bias[:channels],  # type: ignore[index]
        )

    def forward(self, x: Tensor, hidden: int) -> Tensor:
        reduce, reduce_bias, expand, expand_bias = self.sliced(x.shape[1], hidden)
        gate = F.relu(F.conv2d(x.mean((2, 3), keepdim=True), reduce, reduce_bias))
        return x * F.hardsigmoid(F.conv2d(gate, expand, expand_bias))


class ElasticBlock(nn.Module):
    """One MBConv: expand 1x1, depthwise, squeeze-and-excitation, project 1x1, shortcut.

    Stored at `largest`; `forward` takes the shape to run. Without expansion (ratio 1, the
    static first block) there is no first 1x1.
    """

    def __init__(
        self, largest: BlockShape, *, expands: bool = True, kernel_transform: bool = False
    ) -> None:
        super().__init__()
        mid = largest.mid_channels
        self.expand = ElasticConv(largest.in_channels, mid, 1) if expands else None
        self.depthwise = ElasticConv(
            mid, mid, largest.kernel, largest.stride, depthwise=True,
            kernel_transform=kernel_transform,
        )  # fmt: skip
        self.se = SqueezeExcitation(mid) if largest.se else None
        self.project = ElasticConv(mid, largest.out_channels, 1)

    def forward(self, x: Tensor, shape: BlockShape, norm: PieceNorm, name: str) -> Tensor:
        mid, y = shape.mid_channels, x
        if self.expand is not None:
            conv = self.expand.sliced(shape.in_channels, mid, 1)
            y = activate(norm(f"{name}/expand", conv, y), shape.activation)
        conv = self.depthwise.sliced(mid, mid, shape.kernel)
        y = activate(norm(f"{name}/depthwise", conv, y), shape.activation)
        if self.se is not None:
            y = self.se(y, shape.se_channels)
        y = norm(f"{name}/project", self.project.sliced(mid, shape.out_channels, 1), y)
        return x + y if shape.has_shortcut else y
