"""From a supernet with frozen normalisation to plain modules: one subnet, or the pieces.

What comes out is ordinary convolutions with biases, owns its weights and knows nothing of
the supernet. A folded net's pieces are exact in every subnet, so a chain of them *is* the
extracted subnet.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from supernet.architecture import Architecture
from supernet.layers import ElasticBlock, SqueezeExcitation
from supernet.model import Supernet
from supernet.normalization import (
    Convolution,
    FrozenNorm,
    FrozenNormalization,
    PieceAffine,
    Position,
)
from supernet.skeleton import Activation, BlockShape, UnitVariant

_ACTIVATIONS: dict[Activation, type[nn.Module]] = {"relu": nn.ReLU, "h_swish": nn.Hardswish}


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


def extract(supernet: Supernet, arch: Architecture) -> nn.Sequential:
    """The subnet `arch` as a plain module: images [B, C, H, W] → logits [B, classes].

    Raises `ValueError` where `arch` is not of the space or its statistics are missing.
    """
    supernet.space.check(arch)
    norm = _frozen(supernet)
    position = Position.start(arch.resolution)
    chain: list[nn.Module] = [_stem(supernet, norm.at(position))]
    for variant in supernet.space.variants(arch):
        position = position.then(variant.name)
        chain.append(_unit(supernet, variant, norm.at(position)))
    chain.append(_head(supernet, norm.at(position.then("head"))))
    return nn.Sequential(*chain).eval()


def pieces(supernet: Supernet) -> dict[str, nn.Module]:
    """Every piece of a folded net by name: stem, each unit variant, head (17 for CompOFA).

    Raises `ValueError` for a net that keeps statistics per subnet: it has no exact pieces.
    """
    norm = _frozen(supernet)
    if not isinstance(norm, PieceAffine):
        raise ValueError(f"a net with {norm.kind} has no pieces of its own: fold it first")
    result: dict[str, nn.Module] = {"stem": _stem(supernet, norm.at(Position("stem", ())))}
    for variant in supernet.space.unit_variants():
        result[variant.name] = _unit(supernet, variant, norm.at(Position(variant.name, ())))
    result["head"] = _head(supernet, norm.at(Position("head", ())))
    return {name: piece.eval() for name, piece in result.items()}


def piece_names(supernet: Supernet, arch: Architecture) -> tuple[str, ...]:
    """The pieces that make up `arch`, in order."""
    return ("stem", *(v.name for v in supernet.space.variants(arch)), "head")


def _frozen(supernet: Supernet) -> FrozenNormalization:
    norm = supernet.normalization
    if not isinstance(norm, FrozenNormalization):
        raise ValueError("a net in training cannot be extracted: calibrate or fold it first")
    return norm


def _conv(norm: FrozenNorm, layer: str, conv: Convolution) -> nn.Conv2d:
    weight, bias = norm.folded(layer, conv)
    return _plain_conv(weight, bias, conv.stride, conv.groups)


def _plain_conv(weight: Tensor, bias: Tensor | None, stride: int = 1, groups: int = 1) -> nn.Conv2d:
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


def _stem(supernet: Supernet, norm: FrozenNorm) -> nn.Sequential:
    s = supernet.space.skeleton
    first = supernet.first_conv.sliced(s.in_channels, s.stem_channels, 3)
    return nn.Sequential(
        _conv(norm, "first_conv", first),
        nn.Hardswish(),
        _block(supernet.first_block, s.first_block, norm, "first_block"),
    )


def _unit(supernet: Supernet, variant: UnitVariant, norm: FrozenNorm) -> nn.Sequential:
    stored = supernet.unit_blocks(variant.unit)
    return nn.Sequential(
        *(
            _block(stored[i], shape, norm, f"block{i}")
            for i, shape in enumerate(supernet.space.blocks(variant))
        )
    )


def _head(supernet: Supernet, norm: FrozenNorm) -> nn.Sequential:
    s = supernet.space.skeleton
    expand = supernet.final_expand.sliced(s.units[-1].out_channels, s.head_channels, 1)
    classifier = nn.Linear(s.feature_channels, s.classes)
    classifier.load_state_dict(supernet.classifier.state_dict())
    return nn.Sequential(
        _conv(norm, "final_expand", expand),
        nn.Hardswish(),
        nn.AdaptiveAvgPool2d(1),
        _plain_conv(supernet.feature_mix.weight, None),
        nn.Hardswish(),
        nn.Flatten(1),
        classifier.requires_grad_(False),
    )


def _block(block: ElasticBlock, shape: BlockShape, norm: FrozenNorm, name: str) -> nn.Module:
    mid, activation = shape.mid_channels, _ACTIVATIONS[shape.activation]
    layers: list[nn.Module] = []
    if block.expand is not None:
        expand = block.expand.sliced(shape.in_channels, mid, 1)
        layers += [_conv(norm, f"{name}/expand", expand), activation()]
    depthwise = block.depthwise.sliced(mid, mid, shape.kernel)
    layers += [_conv(norm, f"{name}/depthwise", depthwise), activation()]
    if block.se is not None:
        layers.append(_gate(block.se, mid, shape.se_channels))
    project = block.project.sliced(mid, shape.out_channels, 1)
    layers.append(_conv(norm, f"{name}/project", project))
    body = nn.Sequential(*layers)
    return Shortcut(body) if shape.has_shortcut else body


def _gate(se: SqueezeExcitation, channels: int, hidden: int) -> SqueezeGate:
    reduce, reduce_bias, expand, expand_bias = se.sliced(channels, hidden)
    return SqueezeGate(_plain_conv(reduce, reduce_bias), _plain_conv(expand, expand_bias))
