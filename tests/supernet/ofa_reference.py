"""An independent stand-in for the public code: random checkpoints, and a plain forward on one.

Written from the keys alone, on `torch.nn.functional`, so that nothing of ours is in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]

# Stem, first block, five units, head, features.
CHANNELS = {
    1.0: (16, 16, 24, 40, 80, 112, 160, 960, 1280),
    1.2: (24, 24, 32, 48, 96, 136, 192, 1152, 1536),
}
_STRIDES = (2, 2, 2, 1, 2)
_GATED = (False, True, False, True, True)
_RECTIFIED = (True, True, False, False, False)  # ReLU; the other units take h-swish


def random_checkpoint(
    width: float, *, matrices: bool, block: str = "conv", kernels: Sequence[int] = (7,) * 5,
    classes: int = 10,
) -> State:  # fmt: skip
    """What a supernet's `state_dict()` holds, every weight random."""
    generator = torch.Generator().manual_seed(int(10 * width) + matrices)
    stem, first, *units, head, features = CHANNELS[width]
    state: State = {}

    def conv(key: str, out_channels: int, per_group: int, kernel: int) -> None:
        shape = (out_channels, per_group, kernel, kernel)
        fan_in = per_group * kernel * kernel
        # Large in the middle, as trained kernels are: else their centres alone would be noise.
        ring = (torch.arange(kernel) - kernel // 2).abs()
        envelope = 0.5 ** torch.maximum(ring[:, None], ring)
        state[key] = torch.randn(shape, generator=generator) * envelope * (1 / fan_in) ** 0.5

    def norm(key: str, channels: int) -> None:
        state[f"{key}.weight"] = torch.rand(channels, generator=generator) + 0.5
        state[f"{key}.bias"] = torch.randn(channels, generator=generator) * 0.2
        state[f"{key}.num_batches_tracked"] = torch.tensor(7)

    conv("first_conv.conv.weight", stem, 3, 3)
    norm("first_conv.bn", stem)
    conv(f"blocks.0.{block}.depth_conv.conv.weight", stem, 1, 3)
    norm(f"blocks.0.{block}.depth_conv.bn", stem)
    conv(f"blocks.0.{block}.point_linear.conv.weight", first, stem, 1)
    norm(f"blocks.0.{block}.point_linear.bn", first)
    inputs, n = first, 0
    for unit, outputs in enumerate(units):
        for _ in range(4):
            n += 1
            key, mid = f"blocks.{n}.{block}", 6 * inputs
            conv(f"{key}.inverted_bottleneck.conv.conv.weight", mid, inputs, 1)
            norm(f"{key}.inverted_bottleneck.bn.bn", mid)
            conv(f"{key}.depth_conv.conv.conv.weight", mid, 1, kernels[unit])
            for size in range(kernels[unit] - 2, 1, -2) if matrices else ():
                noise = torch.randn(size**2, size**2, generator=generator)
                state[f"{key}.depth_conv.conv.{size + 2}to{size}_matrix"] = (
                    torch.eye(size**2) + 0.1 * noise
                )
            norm(f"{key}.depth_conv.bn.bn", mid)
            if _GATED[unit]:
                hidden = _hidden(mid)
                for gate, out, into in (("reduce", hidden, mid), ("expand", mid, hidden)):
                    conv(f"{key}.depth_conv.se.fc.{gate}.weight", out, into, 1)
                    bias = torch.randn(out, generator=generator) * 0.2
                    state[f"{key}.depth_conv.se.fc.{gate}.bias"] = bias
            conv(f"{key}.point_linear.conv.conv.weight", outputs, mid, 1)
            norm(f"{key}.point_linear.bn.bn", outputs)
            inputs = outputs
    conv("final_expand_layer.conv.weight", head, inputs, 1)
    norm("final_expand_layer.bn", head)
    conv("feature_mix_layer.conv.weight", features, head, 1)
    linear = torch.randn(classes, features, generator=generator)
    state["classifier.linear.weight"] = linear / features**0.5
    state["classifier.linear.bias"] = torch.randn(classes, generator=generator)
    widest = [kernel for kernel in kernels for _ in range(4)]
    images = torch.randn(4, 3, 128, 128, generator=generator)
    forward(state, block, images, (4,) * 5, widest, (6,) * 20)  # measures running statistics
    return state


def forward(
    state: State, block: str, x: Tensor, depths: Sequence[int], kernels: Sequence[int],
    ratios: Sequence[int],
) -> Tensor:  # fmt: skip
    """Logits of a supernet's subnet: kernel and expand ratio of each of its active blocks."""
    x = F.hardswish(_norm(state, "first_conv.bn", F.conv2d(x, state["first_conv.conv.weight"],
                                                           stride=2, padding=1)))  # fmt: skip
    key = f"blocks.0.{block}"
    depthwise = state[f"{key}.depth_conv.conv.weight"]
    y = F.conv2d(x, depthwise, padding=1, groups=len(depthwise))
    y = F.relu(_norm(state, f"{key}.depth_conv.bn", y))
    y = F.conv2d(y, state[f"{key}.point_linear.conv.weight"])
    x = x + _norm(state, f"{key}.point_linear.bn", y)
    choices = iter(zip(kernels, ratios, strict=True))
    for unit, depth in enumerate(depths):
        for i in range(depth):
            kernel, ratio = next(choices)
            key, stride = f"blocks.{1 + 4 * unit + i}.{block}", 1 if i else _STRIDES[unit]
            y = _block(state, key, x, unit, kernel, ratio, stride)
            x = x + y if i else y
    x = F.conv2d(x, state["final_expand_layer.conv.weight"])
    x = F.hardswish(_norm(state, "final_expand_layer.bn", x)).mean((2, 3), keepdim=True)
    x = F.hardswish(F.conv2d(x, state["feature_mix_layer.conv.weight"])).flatten(1)
    return F.linear(x, state["classifier.linear.weight"], state["classifier.linear.bias"])


def _block(
    state: State, key: str, x: Tensor, unit: int, kernel: int, ratio: int, stride: int
) -> Tensor:
    activation = F.relu if _RECTIFIED[unit] else F.hardswish
    mid = ratio * x.shape[1]
    y = F.conv2d(x, state[f"{key}.inverted_bottleneck.conv.conv.weight"][:mid])
    y = activation(_norm(state, f"{key}.inverted_bottleneck.bn.bn", y))
    y = F.conv2d(
        y, _kernel(state, key, mid, kernel), stride=stride, padding=kernel // 2, groups=mid
    )
    y = activation(_norm(state, f"{key}.depth_conv.bn.bn", y))
    if _GATED[unit]:
        hidden, gate = _hidden(mid), f"{key}.depth_conv.se.fc"
        g = F.conv2d(y.mean((2, 3), keepdim=True), state[f"{gate}.reduce.weight"][:hidden, :mid],
                     state[f"{gate}.reduce.bias"][:hidden])  # fmt: skip
        g = F.conv2d(F.relu(g), state[f"{gate}.expand.weight"][:mid, :hidden],
                     state[f"{gate}.expand.bias"][:mid])  # fmt: skip
        y = y * F.relu6(g + 3) / 6
    y = F.conv2d(y, state[f"{key}.point_linear.conv.conv.weight"][:, :mid])
    return _norm(state, f"{key}.point_linear.bn.bn", y)


def _kernel(state: State, key: str, mid: int, kernel: int) -> Tensor:
    weight = state[f"{key}.depth_conv.conv.conv.weight"][:mid]
    while (size := weight.shape[-1]) > kernel:
        weight = weight[:, :, 1:-1, 1:-1]
        matrix = state.get(f"{key}.depth_conv.conv.{size}to{size - 2}_matrix")
        if matrix is not None:
            weight = (weight.reshape(mid, -1) @ matrix.T).view(mid, 1, size - 2, size - 2)
    return weight


def _norm(state: State, key: str, y: Tensor) -> Tensor:
    if f"{key}.running_var" not in state:
        var, mean = torch.var_mean(y, (0, 2, 3))
        state[f"{key}.running_var"], state[f"{key}.running_mean"] = var + 0.01, mean
    parts = ("running_mean", "running_var", "weight", "bias")
    mean, var, weight, bias = (state[f"{key}.{part}"][: y.shape[1]] for part in parts)
    return F.batch_norm(y, mean, var, weight, bias, eps=1e-5)


def _hidden(mid: int) -> int:
    """A quarter in eights, rounded to the nearest; never more than a tenth below."""
    rounded = max(8, (mid // 4 + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * (mid // 4) else rounded
