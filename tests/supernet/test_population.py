"""A population holds the same architectures as the values it was made from."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supernet.architecture import Architecture
from supernet.population import Population
from supernet.presets import design_space
from tests.supernet.block_times import MOBILENETS


@given(name=st.sampled_from(MOBILENETS), seed=st.integers(0, 2**32), size=st.integers(0, 5))
def test_there_and_back(name: str, seed: int, size: int) -> None:
    space, rng = design_space(name), random.Random(seed)
    archs = [space.sample(rng) for _ in range(size)]
    population = Population.of(space, archs)
    assert len(population) == size
    assert [population.architecture(i) for i in range(size)] == archs
    identities = Population.of(space, archs + archs).identities()
    assert identities[:size] == identities[size:]
    assert len(set(identities)) == len(set(archs))


@given(name=st.sampled_from(MOBILENETS), seed=st.integers(0, 2**32))
def test_every_block_is_in_its_slot(name: str, seed: int) -> None:
    space = design_space(name)
    arch = space.sample(random.Random(seed))
    population = Population.of(space, [arch])
    for unit, variant in enumerate(space.variants(arch)):
        empty = (0,) * (max(space.depths) - variant.depth)
        assert tuple(population.kernels[0, unit]) == variant.kernels + empty
        assert tuple(population.expand_ratios[0, unit]) == variant.expand_ratios + empty
    assert np.array_equal(population.depths[0], arch.depths)
    assert population.resolutions[0] == arch.resolution


def test_what_is_not_of_the_space_is_refused() -> None:
    with pytest.raises(ValueError, match="d2-2@160: expected 5 depths"):
        Population.of(design_space("imagenet-mbv3"), [Architecture((2, 2), 160)])
