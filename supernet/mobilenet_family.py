"""MobileNets as a family: their layers in a supernet, cut out of it, sorted and copied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor, nn

from supernet.layers import ElasticBlock, ElasticConv, SqueezeExcitation, activate
from supernet.mobilenet import Activation, BlockShape, MobileNetSkeleton
from supernet.plain import Shortcut, SqueezeGate, plain_conv, plain_linear
from supernet.skeleton import UnitVariant

if TYPE_CHECKING:
    from supernet.design_space import DesignSpace
    from supernet.model import Supernet
    from supernet.normalization import Convolution, FrozenNorm, PieceNorm

_ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "h_swish": nn.Hardswish,
}


@dataclass(frozen=True, slots=True)
class MobileNetFamily:
    """A `Family`. Images and activations are [B, C, H, W]."""

    skeleton: MobileNetSkeleton

    def build(self, supernet: Supernet, space: DesignSpace) -> None:
        s = self.skeleton
        supernet.first_conv = ElasticConv(s.in_channels, s.stem_channels, 3, s.stem_stride)
        supernet.first_block = ElasticBlock(s.first_block, expands=False)
        supernet.units = nn.ModuleList(
            nn.ModuleList(
                ElasticBlock(shape, kernel_transform=space.kernel_transform)
                for shape in s.blocks(space.full_unit(unit))
            )
            for unit in range(len(s.units))
        )
        if s.final_block:
            supernet.last_block = ElasticBlock(s.final_block)
        supernet.final_expand = ElasticConv(s.head_in_channels, s.head_channels, 1)
        if s.feature_channels:
            supernet.feature_mix = nn.Conv2d(s.head_channels, s.feature_channels, 1, bias=False)
            nn.init.kaiming_normal_(_stored(supernet).feature_mix.weight, mode="fan_out")
        supernet.classifier = nn.Linear(s.classifier_channels, s.classes)
        nn.init.normal_(supernet.classifier.weight, std=0.01)
        nn.init.zeros_(supernet.classifier.bias)

    def run_stem(self, supernet: Supernet, x: Tensor, norm: PieceNorm) -> Tensor:
        """First convolution and the static block: [B, in, H, W] → [B, C, H', W']."""
        s = self.skeleton
        x = activate(norm("first_conv", self._first(supernet), x), s.stem_activation)
        stem: Tensor = _stored(supernet).first_block(x, s.first_block, norm, "first_block")
        return stem

    def run_unit(
        self, supernet: Supernet, x: Tensor, variant: UnitVariant, norm: PieceNorm
    ) -> Tensor:
        stored = _blocks(supernet, variant.unit)
        for i, shape in enumerate(self.skeleton.blocks(variant)):
            x = stored[i](x, shape, norm, f"block{i}")
        return x

    def run_head(self, supernet: Supernet, x: Tensor, norm: PieceNorm) -> Tensor:
        """The last block if there is one, final expansion, pooling, feature mix if there is one,
        and the classifier."""
        s = self.skeleton
        if s.final_block:
            x = _stored(supernet).last_block(x, s.final_block, norm, "last_block")
        x = activate(norm("final_expand", self._final(supernet), x), s.head_activation)
        x = x.mean((2, 3), keepdim=True)
        if s.feature_channels:
            x = activate(_stored(supernet).feature_mix(x), s.head_activation)
        return supernet.classifier(torch.flatten(x, 1))  # type: ignore[no-any-return]

    def plain_stem(self, supernet: Supernet, norm: FrozenNorm) -> nn.Module:
        s = self.skeleton
        return nn.Sequential(
            _conv(norm, "first_conv", self._first(supernet)),
            _ACTIVATIONS[s.stem_activation](),
            _block(_stored(supernet).first_block, s.first_block, norm, "first_block"),
        )

    def plain_unit(self, supernet: Supernet, variant: UnitVariant, norm: FrozenNorm) -> nn.Module:
        stored = _blocks(supernet, variant.unit)
        return nn.Sequential(
            *(
                _block(stored[i], shape, norm, f"block{i}")
                for i, shape in enumerate(self.skeleton.blocks(variant))
            )
        )

    def plain_head(self, supernet: Supernet, norm: FrozenNorm) -> nn.Module:
        s, layers = self.skeleton, list[nn.Module]()
        activation = _ACTIVATIONS[s.head_activation]
        if s.final_block:
            layers.append(_block(_stored(supernet).last_block, s.final_block, norm, "last_block"))
        layers += [_conv(norm, "final_expand", self._final(supernet)), activation()]
        layers.append(nn.AdaptiveAvgPool2d(1))
        if s.feature_channels:
            layers += [plain_conv(_stored(supernet).feature_mix.weight, None), activation()]
        classifier = plain_linear(supernet.classifier.weight, supernet.classifier.bias)
        return nn.Sequential(*layers, nn.Flatten(1), classifier)

    def sort_channels(self, supernet: Supernet) -> None:
        """The middle channels of every elastic block, by the L1 norm of the projection's weights
        over its inputs (Cai et al., ICLR 2020, section 3.3)."""
        for unit in range(len(supernet.units)):
            for block in _blocks(supernet, unit):
                _sort_block(block)

    def copy(self, target: Supernet, source: Supernet) -> None:
        _copy_conv(_stored(target).first_conv, _stored(source).first_conv)
        _copy_block(_stored(target).first_block, _stored(source).first_block)
        for unit in range(len(target.units)):
            # The target's unit may be shallower.
            for mine, theirs in zip(_blocks(target, unit), _blocks(source, unit), strict=False):
                _copy_block(mine, theirs)
        if self.skeleton.final_block:
            _copy_block(_stored(target).last_block, _stored(source).last_block)
        _copy_conv(_stored(target).final_expand, _stored(source).final_expand)
        if self.skeleton.feature_channels:
            _stored(target).feature_mix.load_state_dict(_stored(source).feature_mix.state_dict())
        target.classifier.load_state_dict(source.classifier.state_dict())

    def matrices(self, supernet: Supernet) -> list[nn.Parameter]:
        """Weights [out, in, 1, 1] of expanding and projecting layers. Gates and the classifier's
        layers are not among them: theirs take longer to make orthogonal than a step would gain."""
        return [
            parameter
            for name, parameter in supernet.named_parameters()
            if name.endswith(_MIXING) and _GATE not in name
        ]

    def _first(self, supernet: Supernet) -> Convolution:
        s = self.skeleton
        return _stored(supernet).first_conv.sliced(s.in_channels, s.stem_channels, 3)

    def _final(self, supernet: Supernet) -> Convolution:
        s = self.skeleton
        return _stored(supernet).final_expand.sliced(s.head_in_channels, s.head_channels, 1)


class _Stored(Protocol):
    """What `build` has put into a supernet."""

    first_conv: ElasticConv
    first_block: ElasticBlock
    last_block: ElasticBlock
    final_expand: ElasticConv
    feature_mix: nn.Conv2d


def _stored(supernet: Supernet) -> _Stored:
    return cast(_Stored, supernet)


_MIXING = (".expand.weight", ".project.weight", "final_expand.weight")
_GATE = ".se."


def _blocks(supernet: Supernet, unit: int) -> list[ElasticBlock]:
    """The stored blocks of a unit, at their largest."""
    return list(supernet.units[unit])  # type: ignore[call-overload, no-any-return]


def _conv(norm: FrozenNorm, layer: str, conv: Convolution) -> nn.Conv2d:
    weight, bias = norm.folded(layer, conv)
    return plain_conv(weight, bias, conv.stride, conv.groups)


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
    return SqueezeGate(plain_conv(reduce, reduce_bias), plain_conv(expand, expand_bias))


def _sort_block(block: ElasticBlock) -> None:
    order = block.project.weight.abs().sum((0, 2, 3)).argsort(descending=True, stable=True)
    block.project.weight.copy_(block.project.weight[:, order])
    _permute_out(block.depthwise, order)
    if block.expand is not None:
        _permute_out(block.expand, order)
    if block.se is not None:
        _sort_gate(block.se, order)


def _permute_out(conv: ElasticConv, order: Tensor) -> None:
    for parameter in (conv.weight, conv.gamma, conv.beta):
        parameter.copy_(parameter[order])


def _sort_gate(se: SqueezeExcitation, order: Tensor) -> None:
    """Follow the block's order outside, and sort the gate's own hidden channels."""
    reduce, expand = se.reduce, se.expand
    reduce.weight.copy_(reduce.weight[:, order])
    for parameter in expand.parameters():
        parameter.copy_(parameter[order])
    hidden = expand.weight.abs().sum((0, 2, 3)).argsort(descending=True, stable=True)
    for parameter in reduce.parameters():
        parameter.copy_(parameter[hidden])
    expand.weight.copy_(expand.weight[:, hidden])


def _copy_conv(target: ElasticConv, source: ElasticConv) -> None:
    """Kernels are copied as they are after their transform."""
    out_channels, in_channels, kernel, _ = target.weight.shape
    conv = source.sliced(in_channels, out_channels, kernel)
    target.weight.copy_(conv.weight)
    target.gamma.copy_(conv.gamma)
    target.beta.copy_(conv.beta)


def _copy_block(target: ElasticBlock, source: ElasticBlock) -> None:
    if target.expand is not None and source.expand is not None:
        _copy_conv(target.expand, source.expand)
    _copy_conv(target.depthwise, source.depthwise)
    if target.se is not None and source.se is not None:
        hidden, channels = target.se.reduce.weight.shape[:2]
        parts = source.se.sliced(channels, hidden)
        target.se.load_state_dict(dict(zip(target.se.state_dict(), parts, strict=True)))
    _copy_conv(target.project, source.project)
