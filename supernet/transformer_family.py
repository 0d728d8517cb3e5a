"""Small transformers as a family: elastic layers in a supernet, cut out of it, sorted and copied.

A layer is stored with its most heads and hidden units; a narrower one takes the first of each.
Attention and the two linear layers are each preceded by a norm, which all subnets share: every
token is normalised over the same `width` numbers, however narrow the layers before it were.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.plain import plain_linear
from supernet.skeleton import UnitVariant
from supernet.transformer import TransformerSkeleton

if TYPE_CHECKING:
    from supernet.design_space import DesignSpace
    from supernet.model import Supernet
    from supernet.normalization import FrozenNorm, PieceNorm


class Attention(nn.Module):
    """Self-attention over tokens [B, T, D] by heads that are as many as the weights say."""

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.head_width = head_width
        self.project_in = nn.Linear(width, 3 * heads * head_width)
        self.project_out = nn.Linear(heads * head_width, width)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.project_in.weight, self.project_in.bias
        return attend(x, *parts, self.project_out.weight, self.project_out.bias, self.head_width)


def attend(
    x: Tensor, weight_in: Tensor, bias_in: Tensor, weight_out: Tensor, bias_out: Tensor, wide: int
) -> Tensor:
    """`weight_in` [3 H wide, D] gives queries, keys and values, H heads each; `weight_out`
    [D, H wide] leads back."""
    batch, tokens, _ = x.shape
    split = F.linear(x, weight_in, bias_in).view(batch, tokens, 3, -1, wide).permute(2, 0, 3, 1, 4)
    heads = F.scaled_dot_product_attention(split[0], split[1], split[2])
    return F.linear(heads.transpose(1, 2).reshape(batch, tokens, -1), weight_out, bias_out)


class Layer(nn.Module):
    """Attention and a linear bottleneck the other way round, each added to what comes in."""

    def __init__(self, skeleton: TransformerSkeleton, ratio: int) -> None:
        super().__init__()
        width = skeleton.width
        self.attention_norm, self.hidden_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, ratio, skeleton.head_width)
        self.hidden_in = nn.Linear(width, ratio * width)
        self.hidden_out = nn.Linear(ratio * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        y: Tensor = self.hidden_out(F.gelu(self.hidden_in(self.hidden_norm(x))))
        return x + y

    def run(self, x: Tensor, ratio: int) -> Tensor:
        """With the first `ratio` heads and so many times the width of hidden units."""
        weight_in, bias_in, weight_out = self.heads(ratio)
        y = self.attention_norm(x)
        wide, bias_out = self.attention.head_width, self.attention.project_out.bias
        x = x + attend(y, weight_in, bias_in, weight_out, bias_out, wide)
        weight_in, bias_in, weight_out = self.hidden(ratio)
        y = F.gelu(F.linear(self.hidden_norm(x), weight_in, bias_in))
        return x + F.linear(y, weight_out, self.hidden_out.bias)

    def heads(self, ratio: int) -> tuple[Tensor, Tensor, Tensor]:
        """Weight and bias into the first heads, and the weight out of them."""
        project_in, project_out = self.attention.project_in, self.attention.project_out
        used = ratio * self.attention.head_width
        stored = project_out.weight.shape[1]
        weight = project_in.weight.view(3, stored, -1)[:, :used].flatten(0, 1)
        bias = project_in.bias.view(3, stored)[:, :used].flatten()
        return weight, bias, project_out.weight[:, :used]

    def hidden(self, ratio: int) -> tuple[Tensor, Tensor, Tensor]:
        """Weight and bias into the first hidden units, and the weight out of them."""
        used = ratio * self.hidden_out.weight.shape[0]
        into = self.hidden_in
        return into.weight[:used], into.bias[:used], self.hidden_out.weight[:, :used]

    def take(self, other: Layer) -> None:
        """Copy what fits of a layer that is at least as wide."""
        ratio = self.hidden_in.weight.shape[0] // self.hidden_out.weight.shape[0]
        for mine, theirs in (
            (self.attention.project_in.weight, other.heads(ratio)[0]),
            (self.attention.project_in.bias, other.heads(ratio)[1]),
            (self.attention.project_out.weight, other.heads(ratio)[2]),
            (self.attention.project_out.bias, other.attention.project_out.bias),
            (self.hidden_in.weight, other.hidden(ratio)[0]),
            (self.hidden_in.bias, other.hidden(ratio)[1]),
            (self.hidden_out.weight, other.hidden(ratio)[2]),
            (self.hidden_out.bias, other.hidden_out.bias),
        ):
            mine.copy_(theirs)
        self.attention_norm.load_state_dict(other.attention_norm.state_dict())
        self.hidden_norm.load_state_dict(other.hidden_norm.state_dict())


class Embedding(nn.Module):
    """Tokens [B, T] → [B, T, D]: what each is, and where it stands."""

    def __init__(self, vocabulary: int, tokens: int, width: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(torch.zeros(tokens, width))
        nn.init.normal_(self.tokens.weight, std=0.5)
        nn.init.normal_(self.places, std=0.1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.tokens(x)
        return y + self.places[: x.shape[1]]


class Head(nn.Module):
    """Normalised tokens [B, T, D], averaged, into logits [B, classes]."""

    def __init__(self, norm: nn.LayerNorm, classifier: nn.Linear) -> None:
        super().__init__()
        self.norm, self.classifier = norm, classifier

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.classifier(self.norm(x).mean(1))
        return y


@dataclass(frozen=True, slots=True)
class TransformerFamily:
    """A `Family`. Tokens are [B, T], what lies between pieces is [B, T, D]."""

    skeleton: TransformerSkeleton

    def build(self, supernet: Supernet, space: DesignSpace) -> None:
        s = self.skeleton
        supernet.embedding = Embedding(s.vocabulary, s.tokens, s.width)
        supernet.units = nn.ModuleList(
            nn.ModuleList(Layer(s, ratio) for ratio in space.full_unit(unit).expand_ratios)
            for unit in range(s.unit_count)
        )
        supernet.final_norm = nn.LayerNorm(s.width)
        supernet.classifier = nn.Linear(s.width, s.classes)

    def run_stem(self, supernet: Supernet, x: Tensor, _norm: PieceNorm) -> Tensor:
        y: Tensor = _stored(supernet).embedding(x)
        return y

    def run_unit(
        self, supernet: Supernet, x: Tensor, variant: UnitVariant, _norm: PieceNorm
    ) -> Tensor:
        for layer, ratio in zip(
            _layers(supernet, variant.unit), variant.expand_ratios, strict=False
        ):
            x = layer.run(x, ratio)
        return x

    def run_head(self, supernet: Supernet, x: Tensor, _norm: PieceNorm) -> Tensor:
        y: Tensor = supernet.classifier(_stored(supernet).final_norm(x).mean(1))
        return y

    def plain_stem(self, supernet: Supernet, _norm: FrozenNorm) -> nn.Module:
        s = self.skeleton
        stem = Embedding(s.vocabulary, s.tokens, s.width)
        stem.load_state_dict(_stored(supernet).embedding.state_dict())
        return stem.requires_grad_(False)

    def plain_unit(self, supernet: Supernet, variant: UnitVariant, _norm: FrozenNorm) -> nn.Module:
        stored = _layers(supernet, variant.unit)
        layers = [Layer(self.skeleton, ratio) for ratio in variant.expand_ratios]
        with torch.no_grad():
            for mine, theirs in zip(layers, stored, strict=False):
                mine.take(theirs)
        return nn.Sequential(*layers).requires_grad_(False)

    def plain_head(self, supernet: Supernet, _norm: FrozenNorm) -> nn.Module:
        norm = nn.LayerNorm(self.skeleton.width)
        norm.load_state_dict(_stored(supernet).final_norm.state_dict())
        classifier = plain_linear(supernet.classifier.weight, supernet.classifier.bias)
        return Head(norm, classifier).requires_grad_(False)

    def sort_channels(self, supernet: Supernet) -> None:
        """Heads and hidden units of every layer, by the L1 norm of the weights out of them."""
        for unit in range(self.skeleton.unit_count):
            for layer in _layers(supernet, unit):
                _sort_heads(layer.attention)
                order = _order(layer.hidden_out.weight.abs().sum(0))
                layer.hidden_out.weight.copy_(layer.hidden_out.weight[:, order])
                layer.hidden_in.weight.copy_(layer.hidden_in.weight[order])
                layer.hidden_in.bias.copy_(layer.hidden_in.bias[order])

    def copy(self, target: Supernet, source: Supernet) -> None:
        _stored(target).embedding.load_state_dict(_stored(source).embedding.state_dict())
        for unit in range(self.skeleton.unit_count):
            # The target's unit may be shallower.
            for mine, theirs in zip(_layers(target, unit), _layers(source, unit), strict=False):
                mine.take(theirs)
        _stored(target).final_norm.load_state_dict(_stored(source).final_norm.state_dict())
        target.classifier.load_state_dict(source.classifier.state_dict())

    def matrices(self, supernet: Supernet) -> list[nn.Parameter]:
        found = supernet.units.named_parameters()
        return [parameter for name, parameter in found if parameter.ndim == 2]


class _Stored(Protocol):
    """What `build` has put into a supernet."""

    embedding: Embedding
    final_norm: nn.LayerNorm


def _stored(supernet: Supernet) -> _Stored:
    return cast(_Stored, supernet)


def _layers(supernet: Supernet, unit: int) -> list[Layer]:
    """The stored layers of a unit, at their widest."""
    return list(supernet.units[unit])  # type: ignore[call-overload, no-any-return]


def _sort_heads(attention: Attention) -> None:
    wide, (width, stored) = attention.head_width, attention.project_out.weight.shape
    heads = attention.project_out.weight.view(width, -1, wide)
    order = _order(heads.abs().sum((0, 2)))
    attention.project_out.weight.copy_(heads[:, order].reshape(width, stored))
    into = attention.project_in.weight.view(3, -1, wide, width)
    attention.project_in.weight.copy_(into[:, order].reshape(3 * stored, width))
    biases = attention.project_in.bias.view(3, -1, wide)
    attention.project_in.bias.copy_(biases[:, order].reshape(3 * stored))


def _order(importance: Tensor) -> Tensor:
    return importance.argsort(descending=True, stable=True)
