"""Once-for-All's evolutionary search as its tutorial goes about it: one architecture at a time.

Written anew from its description (Cai et al., ICLR 2020) and the published procedure, to measure
against: a sample is drawn until it meets the budget, its latency is put together key by key, and
only accuracies are predicted for a generation at once. Slots past a unit's depth stay in a sample.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from supernet.block_keys import end_keys, unit_keys, unit_sizes
from supernet.design_space import DesignSpace
from supernet.latency import Blocks
from supernet.skeleton import UnitVariant

KERNELS, RATIOS, DEPTHS = (3, 5, 7), (3, 4, 6), (2, 3, 4)
UNITS, SLOTS = 5, 4

Sample = dict[str, list[int]]
Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass
class OneAtATime:
    """`predict` takes codes [N, 128]; `space` is fully elastic, with these choices."""

    space: DesignSpace
    blocks: Blocks
    predict: Predict
    resolutions: Sequence[int]
    population: int = 100
    generations: int = 500
    parents: float = 0.25
    mutants: float = 0.5
    mutation: float = 0.1

    def search(self, budget_ms: float, seed: int) -> tuple[float, Sample]:
        """The best accuracy found within the budget, and the sample that has it."""
        rng = random.Random(seed)
        kept, mutants = round(self.parents * self.population), round(self.mutants * self.population)
        children = [
            self._until(budget_ms, partial(self._drawn, rng)) for _ in range(self.population)
        ]
        pool = list(zip(self._accuracies(children), children, strict=True))
        best = max(pool, key=lambda pair: pair[0])
        for _ in range(self.generations):
            parents = sorted(pool, key=lambda pair: pair[0], reverse=True)[:kept]
            best = max(best, parents[0], key=lambda pair: pair[0])
            children = [
                self._until(budget_ms, partial(self._mutant, rng, rng.choice(parents)[1]))
                for _ in range(mutants)
            ]
            children += [
                self._until(
                    budget_ms,
                    partial(self._crossing, rng, rng.choice(parents)[1], rng.choice(parents)[1]),
                )
                for _ in range(self.population - mutants)
            ]
            pool = parents + list(zip(self._accuracies(children), children, strict=True))
        return best

    def latency_ms(self, sample: Sample) -> float:
        """The sum over the keys of the net, each put together from its sizes."""
        (resolution,) = sample["r"]
        times, skeleton = self.blocks[resolution], self.space.skeleton
        total = sum(times[key].mean for key in end_keys(skeleton, resolution))
        for unit, size in enumerate(unit_sizes(skeleton, resolution)[:-1]):
            there = slice(unit * SLOTS, unit * SLOTS + sample["d"][unit])
            variant = UnitVariant(unit, tuple(sample["ks"][there]), tuple(sample["e"][there]))
            total += sum(times[key].mean for key in unit_keys(skeleton, variant, size))
        return total

    def _until(self, budget_ms: float, draw: Callable[[], Sample]) -> Sample:
        while True:
            sample = draw()
            if self.latency_ms(sample) <= budget_ms:
                return sample

    def _drawn(self, rng: random.Random) -> Sample:
        blocks = range(UNITS * SLOTS)
        return {
            "ks": [rng.choice(KERNELS) for _ in blocks],
            "e": [rng.choice(RATIOS) for _ in blocks],
            "d": [rng.choice(DEPTHS) for _ in range(UNITS)],
            "r": [rng.choice(self.resolutions)],
        }

    def _mutant(self, rng: random.Random, parent: Sample) -> Sample:
        child = copy.deepcopy(parent)
        if rng.random() < self.mutation:
            child["r"] = [rng.choice(self.resolutions)]
        for slot in range(UNITS * SLOTS):
            if rng.random() < self.mutation:
                child["ks"][slot], child["e"][slot] = rng.choice(KERNELS), rng.choice(RATIOS)
        for unit in range(UNITS):
            if rng.random() < self.mutation:
                child["d"][unit] = rng.choice(DEPTHS)
        return child

    def _crossing(self, rng: random.Random, one: Sample, other: Sample) -> Sample:
        return {
            key: [rng.choice(pair) for pair in zip(one[key], other[key], strict=True)]
            for key in one
        }

    def _accuracies(self, samples: list[Sample]) -> list[float]:
        codes = np.stack([self._code(sample) for sample in samples])
        return [float(value) for value in self.predict(codes)]

    def _code(self, sample: Sample) -> NDArray[np.float32]:
        code = np.zeros(128, np.float32)
        for slot in range(UNITS * SLOTS):
            if slot % SLOTS < sample["d"][slot // SLOTS]:
                code[3 * slot + KERNELS.index(sample["ks"][slot])] = 1
                code[60 + 3 * slot + RATIOS.index(sample["e"][slot])] = 1
        code[120 + (sample["r"][0] - 112) // 16] = 1
        return code
