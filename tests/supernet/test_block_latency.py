"""Arrays say what the lookup table says, one architecture at a time."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from supernet.block_keys import end_keys
from supernet.block_latency import BlockLatency
from supernet.lookup_table import LookupTable
from supernet.mobilenet import mobilenet
from supernet.population import Population
from supernet.presets import design_space
from tests.supernet.block_times import MOBILENETS, made_up, small_space


@given(name=st.sampled_from(MOBILENETS), seed=st.integers(0, 2**32))
def test_it_says_what_the_table_says(name: str, seed: int) -> None:
    space, rng = design_space(name), random.Random(seed)
    table = LookupTable(space, made_up(space, space.resolutions, seed), {})
    latency = BlockLatency(table)
    archs = [space.sample(rng) for _ in range(5)] + [space.smallest, space.largest]
    expected = [table.latency_ms(arch) for arch in archs]
    assert latency(Population.of(space, archs)) == pytest.approx(expected, rel=1e-12)
    assert latency.resolutions == space.resolutions
    assert latency.missing == 0


def everything(seed: int) -> tuple[BlockLatency, Population, NDArray[np.float64]]:
    """A small space whole, with a table that lacks some blocks, and what each net takes."""
    space = small_space(((3, 5), (3,)), (32, 48))
    blocks, rng = made_up(space, (32, 48), seed), random.Random(seed)
    in_units = sorted(blocks[48].keys() - set(end_keys(mobilenet(space.skeleton), 48)))
    for key in in_units[:: rng.randrange(2, 9)]:
        del blocks[48][key]
    table = LookupTable(space, blocks, {48: "48"})
    archs = list({space.sample(rng) for _ in range(200)})

    def or_infinite(index: int) -> float:
        try:
            return table.latency_ms(archs[index])
        except ValueError:
            return float("inf")

    times = np.array([or_infinite(i) for i in range(len(archs))])
    return BlockLatency(table), Population.of(space, archs), times


@given(seed=st.integers(0, 2**32))
@settings(max_examples=30)
def test_a_net_with_a_missing_block_takes_for_ever(seed: int) -> None:
    latency, population, times = everything(seed)
    assert np.allclose(latency(population), times, rtol=1e-12)
    assert latency.missing > 0 or latency.resolutions == (32,)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=30)
def test_nothing_is_faster_than_the_fastest(seed: int) -> None:
    latency, population, times = everything(seed)
    for resolution in latency.resolutions:
        arch = latency.fastest([resolution])
        assert arch.resolution == resolution
        (least,) = latency(Population.of(latency.space, [arch]))
        assert least <= times[population.resolutions == resolution].min() + 1e-12
    both = latency(Population.of(latency.space, [latency.fastest(latency.resolutions)]))
    assert both <= times.min() + 1e-12


@pytest.mark.parametrize("name", ["imagenet-mbv3", "imagenet-mbv3-elastic"])
def test_coupled_ratios_go_with_the_depth(name: str) -> None:
    space = design_space(name)
    latency = BlockLatency(LookupTable(space, made_up(space, [160]), {}))
    arch = latency.fastest([160])
    space.check(arch)
    others = Population.of(
        space, [space.sample(random.Random(s), resolution=160) for s in range(99)]
    )
    assert latency(Population.of(space, [arch])) <= latency(others).min()


def test_a_resolution_without_a_whole_net_is_left_out() -> None:
    space = small_space(((3,), (3,)), (32, 48))
    blocks = made_up(space, (32, 48))
    del blocks[48]["Logits-input:1x1x8-output:10"]
    assert BlockLatency(LookupTable(space, blocks, {48: "48"})).resolutions == (32,)
