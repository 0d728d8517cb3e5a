"""Rows of genes stand for architectures of the space, every one of them, and nothing else."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.search.genome import Genome
from supernet.design_space import DesignSpace
from supernet.population import Population
from supernet.presets import design_space
from tests.supernet.block_times import MOBILENETS, small_space

NAMES = st.sampled_from(MOBILENETS)


@given(name=NAMES, seed=st.integers(0, 2**32), rows=st.integers(0, 20))
def test_every_row_stands_for_an_architecture_of_the_space(name: str, seed: int, rows: int) -> None:
    space = design_space(name)
    genome = Genome(space, space.resolutions[1:])
    population = genome.population(genome.random(np.random.default_rng(seed), rows))
    assert len(population) == rows
    for i in range(rows):
        arch = population.architecture(i)
        space.check(arch)
        assert arch.resolution in space.resolutions[1:]
        again = Population.of(space, [arch])
        for field in ("depths", "kernels", "expand_ratios", "resolutions"):
            assert np.array_equal(getattr(again, field)[0], getattr(population, field)[i])


@given(name=NAMES, seed=st.integers(0, 2**32), rows=st.integers(0, 20))
def test_there_and_back(name: str, seed: int, rows: int) -> None:
    space, rng = design_space(name), random.Random(seed)
    genome = Genome(space, space.resolutions)
    archs = [space.sample(rng) for _ in range(rows)]
    genes = genome.genes(Population.of(space, archs))
    assert genes.shape == (rows, len(genome.options))
    assert (genes < genome.options).all()
    population = genome.population(genes)
    assert [population.architecture(i) for i in range(rows)] == archs


def test_random_rows_reach_every_architecture() -> None:
    space = small_space(((3, 5), (7,)), (32, 48), compound=True)
    genome = Genome(space, space.resolutions)
    population = genome.population(genome.random(np.random.default_rng(0), 5000))
    found = {population.architecture(i) for i in range(5000)}
    assert len(found) == space.size() == (2 + 4 + 8) * 3 * 2
    keys = population.identities()
    assert len(set(keys)) == len(found)
    assert len({(key, population.architecture(i)) for i, key in enumerate(keys)}) == len(found)


def test_a_space_of_one_architecture_has_nothing_to_search(space: DesignSpace) -> None:
    with pytest.raises(ValueError, match="has one architecture: nothing to search"):
        Genome(space.narrowed(space.largest), space.resolutions)
