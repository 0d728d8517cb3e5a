"""A net takes the sum of its parts; a part that is missing is named, and so is a wrong width."""

from __future__ import annotations

import random
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supernet.architecture import Architecture
from supernet.block_keys import net_keys
from supernet.design_space import DesignSpace
from supernet.latency import Blocks
from supernet.lookup_table import LookupTable
from supernet.mobilenet import mobilenet
from supernet.presets import design_space, fashion_mnist_mbv3, imagenet_mbv3
from tests.supernet.block_times import MOBILENETS, made_up


def table(space: DesignSpace, blocks: Blocks) -> LookupTable:
    return LookupTable(space, blocks, {r: f"table {r}" for r in blocks})


@given(name=st.sampled_from(MOBILENETS), seed=st.integers(0, 2**32))
def test_it_is_the_sum_over_the_keys_of_the_net(name: str, seed: int) -> None:
    space, rng = design_space(name), random.Random(seed)
    arch = space.sample(rng)
    blocks = made_up(space, [arch.resolution], seed)
    keys = list(net_keys(mobilenet(space.skeleton), arch.resolution, space.variants(arch)))
    assert len(keys) == 6 + sum(arch.depths)
    expected = sum(blocks[arch.resolution][key].mean for key in keys)
    lookup = table(space, blocks)
    assert lookup.latency_ms(arch) == pytest.approx(expected, rel=1e-12)
    assert lookup.latency_ms(arch) == lookup.latency_ms(arch)


@given(seed=st.integers(0, 2**32))
def test_whichever_part_is_missing_is_named(seed: int) -> None:
    space, rng = design_space("fashion-mnist-mbv3-ofa"), random.Random(seed)
    arch = space.sample(rng, resolution=28)
    blocks = made_up(space, [28])
    missing = rng.choice(list(net_keys(mobilenet(space.skeleton), 28, space.variants(arch))))
    del blocks[28][missing]
    with pytest.raises(ValueError, match=re.escape(f"table 28: there is no '{missing}'")) as caught:
        table(space, blocks).latency_ms(arch)
    assert "width" not in str(caught.value)


@pytest.mark.parametrize(("own", "other"), [(1.0, 1.2), (1.2, 1.0), (1.0, 0.75), (1.2, 2.0)])
@pytest.mark.parametrize("freedom", ["compound", "elastic"])
def test_the_width_that_a_table_was_made_for_is_said(
    own: float, other: float, freedom: str
) -> None:
    space = design_space(f"imagenet-mbv3{'' if freedom == 'compound' else '-ofa'}{_suffix(own)}")
    blocks = made_up(imagenet_mbv3("elastic", other), [160])
    with pytest.raises(ValueError, match="table 160: there is no '") as caught:
        table(space, blocks).latency_ms(space.smallest.at(160))
    assert str(caught.value).endswith(
        f"the table looks like imagenet-mbv3 of width {other:g}, and the net has width {own:g}"
    )


def _suffix(width: float) -> str:
    return "" if width == 1.0 else f"-w{width:g}"


def test_another_net_altogether_is_no_other_width() -> None:
    space = design_space("imagenet-mbv3")
    with pytest.raises(ValueError, match=r"there is no 'Conv-input:224x224x3-output:112x112x16'$"):
        table(space, made_up(fashion_mnist_mbv3("elastic"), [224])).latency_ms(space.largest)
    odd = fashion_mnist_mbv3()
    with pytest.raises(ValueError, match=r"; the table looks like imagenet-mbv3 of width 1$"):
        table(odd, made_up(imagenet_mbv3("elastic", classes=10), [28])).latency_ms(odd.largest)


def test_a_resolution_that_is_not_there() -> None:
    space = design_space("imagenet-mbv3")
    lookup = table(space, made_up(space, [160, 176]))
    assert lookup.resolutions == [160]
    with pytest.raises(
        ValueError, match=r"d4-4-4-4-4@224: the latency table has no such resolution"
    ):
        lookup.latency_ms(space.largest)


def test_a_whole_catalog_takes_well_under_a_second() -> None:
    space = design_space("imagenet-mbv3-w1.2")
    blocks = made_up(space, space.resolutions)
    archs: list[Architecture] = list(space.enumerate())
    assert len(archs) == 243 * 5
    began = time.process_time()
    lookup = table(space, blocks)
    assert len({lookup.latency_ms(arch) for arch in archs}) > 1000
    assert time.process_time() - began < 0.5
