"""Cutting subnets into segments: every subnet is a chain of them, and none is left over."""

from gateway.engines.segments import chain, segments
from supernet.design_space import DesignSpace
from supernet.presets import design_space


def test_243_subnets_are_19_segments() -> None:
    space = design_space("imagenet-mbv3")
    assert len(segments(space)) == 9 + 3 * 3 + 1


def test_chains_use_each_segment_and_no_other(space: DesignSpace) -> None:
    used = {segment for arch in space.enumerate() for segment in chain(space, arch)}
    assert used == set(segments(space))


def test_a_chain_has_the_pieces_in_order(space: DesignSpace) -> None:
    arch = space.largest
    pieces = [piece for segment in chain(space, arch) for piece in segment.pieces]
    assert pieces == ["stem", *(variant.name for variant in space.variants(arch)), "head"]
