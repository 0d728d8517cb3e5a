"""A latency lookup table by blocks: what an architecture takes is the sum of what its parts take.

The form is Once-for-All's (Cai et al., ICLR 2020). Its keys hold every size, so they are made from
the real channels of a net; a table of another width has other keys and is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from supernet.architecture import Architecture
from supernet.block_keys import end_keys, net_keys, unit_keys, unit_sizes
from supernet.design_space import DesignSpace
from supernet.latency import Blocks
from supernet.mobilenet import mobilenet
from supernet.presets import feature_width, imagenet_mbv3, imagenet_width
from supernet.skeleton import UnitVariant

_FEATURES = re.compile(r"Conv_2-input:1x1x\d+-output:1x1x([1-9]\d{0,4})")


class LookupTable:
    """Latencies of the architectures of `space` from those of their parts.

    `origins` says what each resolution's part of the table is called in errors, for instance the
    file it came from. Raises `ValueError` for a net that is no MobileNet.
    """

    def __init__(self, space: DesignSpace, blocks: Blocks, origins: Mapping[int, str]) -> None:
        self.space, self._origins = space, origins
        self.skeleton = mobilenet(space.skeleton)
        self._means = {
            resolution: {key: time.mean for key, time in times.items()}
            for resolution, times in blocks.items()
        }
        self._units: dict[tuple[int, UnitVariant], float] = {}
        self._ends: dict[int, float] = {}

    @property
    def resolutions(self) -> list[int]:
        """Those of the space that the table has, in order."""
        return [r for r in self.space.resolutions if r in self._means]

    def latency_ms(self, arch: Architecture) -> float:
        """The sum over stem, blocks and head.

        Raises `ValueError` for a part that the table does not have: it names the key and, where
        the table fits a net of another width, that width.
        """
        if arch.resolution not in self._means:
            raise ValueError(f"subnet {arch.id}: the latency table has no such resolution")
        total = self.ends_ms(arch.resolution)
        for variant in self.space.variants(arch):
            total += self._unit_ms(arch.resolution, variant)
        return total

    def ends_ms(self, resolution: int) -> float:
        """What all architectures share: stem and head. Raises `ValueError` as `latency_ms`."""
        if resolution not in self._ends:
            keys = end_keys(self.skeleton, resolution)
            self._ends[resolution] = self._sum(resolution, keys)
        return self._ends[resolution]

    def block_ms(self, resolution: int, key: str) -> float | None:
        """What one part takes; None where the table does not have it."""
        return self._means[resolution].get(key)

    def _unit_ms(self, resolution: int, variant: UnitVariant) -> float:
        form = resolution, variant
        if form not in self._units:
            size = unit_sizes(self.skeleton, resolution)[variant.unit]
            keys = unit_keys(self.skeleton, variant, size)
            self._units[form] = self._sum(resolution, keys)
        return self._units[form]

    def _sum(self, resolution: int, keys: Iterable[str]) -> float:
        means, total = self._means[resolution], 0.0
        for key in keys:
            if key not in means:
                origin, hint = self._origins[resolution], self._other_width(resolution)
                raise ValueError(f"{origin}: there is no {key!r}{hint}")
            total += means[key]
        return total

    def _other_width(self, resolution: int) -> str:
        """That the table fits a net of another width, where it does; or nothing."""
        means, skeleton = self._means[resolution], self.skeleton
        features = next(filter(None, map(_FEATURES.fullmatch, means)), None)
        if features is None or skeleton.unit_count != imagenet_mbv3().skeleton.unit_count:
            return ""
        width, own = feature_width(int(features[1])), imagenet_width(skeleton)
        other = mobilenet(imagenet_mbv3(width=width, classes=skeleton.classes).skeleton)
        variants = self.space.variants(self.space.smallest)
        if width == own or not means.keys() >= set(net_keys(other, resolution, variants)):
            return ""
        net = "" if own is None else f", and the net has width {own:.2g}"
        return f"; the table looks like imagenet-mbv3 of width {width:.2g}{net}"
