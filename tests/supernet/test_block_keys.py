"""Keys are made from a net's real channels, and are those of the published tables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from supernet.architecture import Architecture
from supernet.block_keys import net_keys, unit_sizes
from supernet.mobilenet import mobilenet
from supernet.presets import design_space
from tests.supernet.block_times import every_key

NOTE10 = Path(__file__).parents[3] / "shared/data/note10"


def test_the_keys_of_a_net_in_full() -> None:
    space = design_space("imagenet-mbv3-w1.2")
    arch = Architecture.parse("d2-2-2-2-2@160")
    block = "expanded_conv-input:{}-output:{}-expand:{}-kernel:{}-stride:{}-idskip:{}-se:{}-hs:{}"
    assert list(net_keys(mobilenet(space.skeleton), 160, space.variants(arch))) == [
        "Conv-input:160x160x3-output:80x80x24",
        block.format("80x80x24", "80x80x24", 24, 3, 1, 1, 0, 0),
        "Conv_1-input:5x5x192-output:5x5x1152",
        "AvgPool2D-input:5x5x1152-output:1x1x1152",
        "Conv_2-input:1x1x1152-output:1x1x1536",
        "Logits-input:1x1x1536-output:1000",
        block.format("80x80x24", "40x40x32", 72, 3, 2, 0, 0, 0),
        block.format("40x40x32", "40x40x32", 96, 3, 1, 1, 0, 0),
        block.format("40x40x32", "20x20x48", 96, 5, 2, 0, 1, 0),
        block.format("20x20x48", "20x20x48", 144, 5, 1, 1, 1, 0),
        block.format("20x20x48", "10x10x96", 144, 3, 2, 0, 0, 1),
        block.format("10x10x96", "10x10x96", 288, 3, 1, 1, 0, 1),
        block.format("10x10x96", "10x10x136", 288, 3, 1, 0, 1, 1),
        block.format("10x10x136", "10x10x136", 408, 3, 1, 1, 1, 1),
        block.format("10x10x136", "5x5x192", 408, 5, 2, 0, 1, 1),
        block.format("5x5x192", "5x5x192", 576, 5, 1, 1, 1, 1),
    ]


@pytest.mark.parametrize("resolution", [128, 160, 176, 208, 224])
def test_odd_sizes_are_rounded_up(resolution: int) -> None:
    sizes = unit_sizes(mobilenet(design_space("imagenet-mbv3").skeleton), resolution)
    assert sizes == tuple(-(-resolution // 2**n) for n in (1, 2, 3, 4, 4, 5))


@pytest.mark.skipif(not NOTE10.exists(), reason="needs ../shared/data beside the repository")
@pytest.mark.parametrize("resolution", [160, 176, 192, 208, 224])
def test_the_published_tables_have_exactly_the_keys_of_the_space(resolution: int) -> None:
    text = (NOTE10 / f"{resolution}_lookup_table.yaml").read_text()
    published = set(re.findall(r"^(\S+):$", text, re.MULTILINE))
    assert set(every_key(design_space("imagenet-mbv3-ofa-w1.2"), resolution)) == published
    assert not set(every_key(design_space("imagenet-mbv3-ofa"), resolution)) & published
