"""The skeleton of small transformers that classify sequences of tokens.

An expand ratio r gives a layer r attention heads and r times its width of hidden units, so that
width shrinks as in DynaBERT (Hou et al., NeurIPS 2020) and, in the hidden units, as in MatFormer
(Devvrit et al., NeurIPS 2024). A unit is a run of such layers; a resolution is how many tokens are
read, the first ones. Layers are normalised token by token, which depends on no batch and on no
other layer: there is nothing to calibrate and nothing to fold, and pieces are exact as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field

from supernet.skeleton import Complexity, Frozen, Inputs, Path, Positive, UnitVariant


class TransformerSkeleton(Frozen):
    """What all subnets share. Tokens are numbers below `vocabulary`, 0 for none; `tokens` is the
    most that are read; `width` numbers stand for each between layers."""

    family: Literal["transformer"] = "transformer"
    vocabulary: Annotated[int, Field(ge=2)]
    tokens: Positive
    width: Positive
    head_width: Positive
    unit_count: Positive
    classes: Annotated[int, Field(ge=2)]

    @property
    def inputs(self) -> Inputs:
        return Inputs("tokens", vocabulary=self.vocabulary)

    @property
    def normalised_ends(self) -> tuple[Mapping[str, int], Mapping[str, int]]:
        return {}, {}

    def normalised(self, _variant: UnitVariant) -> Mapping[str, int]:
        return {}

    def stored_kernel(self, _unit: int) -> None:
        return None

    def piece_input(self, piece: str) -> tuple[int, ...]:
        return (-1, -1) if piece == "stem" else (-1, -1, self.width)

    def pieces(self, resolution: int, path: Path) -> Iterator[Complexity]:
        yield Complexity(0, (self.vocabulary + self.tokens) * self.width)
        for variant in path:
            layers = (self._layer(resolution, ratio) for ratio in variant.expand_ratios)
            yield sum(layers, Complexity(0, 0))
        classifier = self.width * self.classes
        yield Complexity(classifier, classifier + self.classes + 2 * self.width)

    def _layer(self, tokens: int, ratio: int) -> Complexity:
        """Attention: into queries, keys and values, scores, what they weigh, and out. Then two
        linear layers."""
        heads, hidden = ratio * self.head_width, ratio * self.width
        linear = 4 * self.width * heads + 2 * self.width * hidden
        biases = 3 * heads + self.width + hidden + self.width
        norms = 2 * 2 * self.width
        return Complexity(tokens * linear + 2 * tokens**2 * heads, linear + biases + norms)
