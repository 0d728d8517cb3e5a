"""What public Once-for-All and CompOFA checkpoints call each tensor, in all their versions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from supernet.design_space import DesignSpace
from supernet.mobilenet import mobilenet

_LAYERS = {"expand": "inverted_bottleneck", "depthwise": "depth_conv", "project": "point_linear"}


@dataclass(frozen=True, slots=True)
class OfaNames:
    """One way of naming: `block` is what holds a block's layers, and `doubled` says that each
    layer is wrapped once more, as in every supernet and in no subnet cut from one."""

    block: str
    doubled: bool

    @classmethod
    def of(cls, keys: Iterable[str]) -> OfaNames | None:
        """How these keys are named; None where they are no MobileNetV3 of theirs."""
        for block in ("mobile_inverted_conv", "conv"):  # older releases, newer releases
            layers = [key for key in keys if f".{block}.inverted_bottleneck." in key]
            if layers:
                return cls(block, any(".conv.conv." in key or ".bn.bn." in key for key in layers))
        return None

    def weight(self, block: int, layer: str) -> str:
        """The key of a convolution's weight; blocks count from the static one, 0."""
        return f"{self._parts(block, layer)[0]}.weight"

    def of_space(self, space: DesignSpace) -> dict[str, str]:
        """Our name → theirs, of every weight and (with `|`) every running statistic."""
        return dict(self._pairs(space))

    def _pairs(self, space: DesignSpace) -> Iterator[tuple[str, str]]:
        yield from _conv("first_conv", "stem|first_conv", "first_conv.conv", "first_conv.bn")
        yield from self._block("first_block", "stem|first_block", 0, ("depthwise", "project"))
        block = 0
        for unit, spec in enumerate(mobilenet(space.skeleton).units):
            for i, kernel in enumerate(space.full_unit(unit).kernels):
                block += 1
                ours = f"units.{unit}.{i}"
                yield from self._block(ours, f"unit{unit}|block{i}", block, _LAYERS)
                if space.kernel_transform:
                    yield from self._transforms(f"{ours}.depthwise.transforms", block, kernel)
                if spec.se:
                    yield from self._gate(f"{ours}.se", block)
        yield from _conv(
            "final_expand", "head|final_expand", "final_expand_layer.conv", "final_expand_layer.bn"
        )
        yield "feature_mix.weight", "feature_mix_layer.conv.weight"
        yield "classifier.weight", "classifier.linear.weight"
        yield "classifier.bias", "classifier.linear.bias"

    def _block(
        self, ours: str, place: str, block: int, layers: Iterable[str]
    ) -> Iterator[tuple[str, str]]:
        for layer in layers:
            yield from _conv(f"{ours}.{layer}", f"{place}/{layer}", *self._parts(block, layer))

    def _transforms(self, ours: str, block: int, stored: int) -> Iterator[tuple[str, str]]:
        for size in range(stored - 2, 1, -2):
            theirs = f"blocks.{block}.{self.block}.depth_conv.conv.{size + 2}to{size}_matrix"
            yield f"{ours}.{size}", theirs

    def _gate(self, ours: str, block: int) -> Iterator[tuple[str, str]]:
        theirs = f"blocks.{block}.{self.block}.depth_conv.se.fc"
        for name in ("reduce.weight", "reduce.bias", "expand.weight", "expand.bias"):
            yield f"{ours}.{name}", f"{theirs}.{name}"

    def _parts(self, block: int, layer: str) -> tuple[str, str]:
        """Prefixes of a layer's convolution and batch norm; the static block is never wrapped."""
        prefix = f"blocks.{block}.{self.block}.{_LAYERS[layer]}"
        wrapped = self.doubled and block > 0
        conv, norm = ("conv.conv", "bn.bn") if wrapped else ("conv", "bn")
        return f"{prefix}.{conv}", f"{prefix}.{norm}"


def _conv(ours: str, place: str, conv: str, norm: str) -> Iterator[tuple[str, str]]:
    yield f"{ours}.weight", f"{conv}.weight"
    yield f"{ours}.gamma", f"{norm}.weight"
    yield f"{ours}.beta", f"{norm}.bias"
    yield f"{place}|mean", f"{norm}.running_mean"
    yield f"{place}|var", f"{norm}.running_var"
