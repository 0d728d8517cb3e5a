"""What belongs to a design space, and how it resolves into pieces and shapes."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from supernet.architecture import Architecture
from supernet.design_space import DesignSpace
from supernet.mobilenet import MobileNetSkeleton, make_divisible, mobilenet
from supernet.presets import PRESETS, design_space


def elastic(**changes: Any) -> DesignSpace:
    """`imagenet-mbv3` with some choices freed."""
    data = design_space("imagenet-mbv3").model_dump() | changes
    return DesignSpace.model_validate(data)


FREE_KERNELS = design_space("imagenet-mbv3-elastic")
FREE = design_space("imagenet-mbv3-ofa")
SPACES = [make() for make in PRESETS.values()]
MOBILENET_V3 = [space for space in SPACES if "-mbv3" in space.name]
NARROWED = FREE.narrowed(FREE.sample(random.Random(0)))
by_name = pytest.mark.parametrize("space", [*SPACES, NARROWED], ids=lambda space: space.name)


def units_of(space: DesignSpace) -> int:
    return len(space.largest.depths)


@pytest.mark.parametrize("name", ["imagenet-mbv3", "imagenet-mbv3-w1.2", "fashion-mnist-mbv3"])
def test_a_compound_preset_has_243_subnets_a_resolution_made_of_15_unit_variants(name: str) -> None:
    space = design_space(name)
    every = list(space.enumerate())
    assert len(every) == len(set(every)) == space.size() == 243 * len(space.resolutions)
    variants = space.unit_variants()
    assert len(variants) == len(set(variants)) == 15
    assert {v for arch in every for v in space.variants(arch)} == set(variants)


def test_width_1_2_has_the_published_channels() -> None:
    skeleton = mobilenet(design_space("imagenet-mbv3-ofa-w1.2").skeleton)
    assert skeleton == design_space("imagenet-mbv3-w1.2").skeleton
    assert (skeleton.stem_channels, skeleton.first_block_channels) == (24, 24)
    assert [unit.out_channels for unit in skeleton.units] == [32, 48, 96, 136, 192]
    assert (skeleton.head_channels, skeleton.feature_channels) == (1152, 1536)


@by_name
def test_coupling_gives_each_depth_its_ratio(space: DesignSpace) -> None:
    arch = space.sample(random.Random(1))
    coupled = dict(zip(space.depths, space.expand_ratios, strict=True))
    for variant in space.variants(arch):
        ratios = set(variant.expand_ratios)
        assert not space.compound or ratios == {coupled[variant.depth]}
        assert ratios <= set(space.expand_ratios)


@by_name
@given(seed=st.integers(0, 2**32))
def test_a_sample_belongs_to_its_space(space: DesignSpace, seed: int) -> None:
    arch = space.sample(random.Random(seed))
    assert space.contains(arch)
    assert space.sample(random.Random(seed)) == arch
    assert space.contains(Architecture.parse(arch.id))
    if not isinstance(space.skeleton, MobileNetSkeleton):
        return
    blocks = [shape for v in space.variants(arch) for shape in space.skeleton.blocks(v)]
    assert len(blocks) == sum(arch.depths)
    for before, after in itertools.pairwise(blocks):
        assert after.in_channels == before.out_channels


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_largest_and_smallest_are_the_ends(space: DesignSpace) -> None:
    assert space.contains(space.largest)
    assert space.contains(space.smallest)
    assert space.largest.depths == (max(space.depths),) * units_of(space)
    assert space.smallest.depths == (min(space.depths),) * units_of(space)
    assert space.largest.resolution == max(space.resolutions)
    assert space.smallest.resolution == min(space.resolutions)


def test_sampling_can_be_narrowed(space: DesignSpace) -> None:
    rng = random.Random(0)
    wanted = {Architecture((a, b), 12) for a in (3, 4) for b in (3, 4)}
    assert {space.sample(rng, depths=(3, 4), resolution=12) for _ in range(50)} == wanted
    # A ratio belongs to a depth here, so narrowing one narrows the other.
    assert {space.sample(rng, expand_ratios=(4, 6), resolution=12) for _ in range(50)} == wanted


@given(
    seed=st.integers(0, 2**32),
    depths=st.sets(st.sampled_from([2, 3, 4]), min_size=1),
    kernels=st.sets(st.sampled_from([3, 5, 7]), min_size=1),
    ratios=st.sets(st.sampled_from([3, 4, 6]), min_size=1),
)
def test_a_narrowed_sample_takes_what_is_left(
    seed: int, depths: set[int], kernels: set[int], ratios: set[int]
) -> None:
    rng = random.Random(seed)
    arch = FREE.sample(
        rng, depths=tuple(depths), kernels=tuple(kernels), expand_ratios=tuple(ratios)
    )
    assert FREE.contains(arch)
    assert set(arch.depths) <= depths
    assert set(arch.kernels) <= kernels
    assert set(arch.expand_ratios) <= ratios


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ({"depths": (5,)}, r"depths: expected some of \[2, 3, 4\], got \[5\]"),
        ({"kernels": (7,)}, r"kernels of unit 0: expected some of \[3\], got \[7\]"),
        ({"expand_ratios": (5,)}, r"expand_ratios: expected some of \[3, 4, 6\], got \[5\]"),
        ({"depths": (2,), "expand_ratios": (6,)}, r"depths: expected some of \[2\], got \[4\]"),
    ],
)
def test_a_sample_of_nothing_is_refused(
    space: DesignSpace, given_: dict[str, tuple[int, ...]], expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        space.sample(random.Random(0), **given_)  # type: ignore[arg-type]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_representatives_are_all_of_the_coupling(space: DesignSpace) -> None:
    every = list(space.representatives())
    assert len(set(every)) == 3 ** units_of(space) * len(space.resolutions)
    coupled = dict(zip(space.depths, space.expand_ratios, strict=True))
    for arch in every:
        assert space.contains(arch)
        assert Architecture.parse(arch.id) == arch
        for variant in space.variants(arch):
            assert set(variant.expand_ratios) == {coupled[variant.depth]}
    assert every == sorted(every, key=lambda a: a.resolution)
    if space.can_be_listed:
        assert list(space.enumerate()) == every


@pytest.mark.parametrize("space", MOBILENET_V3, ids=lambda space: space.name)
def test_representatives_are_compofas_243_with_its_kernels(space: DesignSpace) -> None:
    every = list(space.representatives())
    assert len(every) == 243 * len(space.resolutions)
    for variant in {variant for arch in every for variant in space.variants(arch)}:
        assert set(variant.kernels) == {(3, 5, 3, 3, 5)[variant.unit]}
        assert set(variant.expand_ratios) == {{2: 3, 3: 4, 4: 6}[variant.depth]}


def test_representatives_have_the_largest_kernels_where_none_are_named() -> None:
    space = elastic(kernels=((3, 5, 7), (3, 5), (3,), (5,), (3, 7)))
    first = next(space.representatives())
    assert first.kernels == (7, 7, 5, 5, 3, 3, 5, 5, 7, 7)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
@given(seed=st.integers(0, 2**32))
def test_a_narrowed_space_holds_one_architecture_under_its_old_id(
    space: DesignSpace, seed: int
) -> None:
    arch = space.sample(random.Random(seed))
    narrowed = space.narrowed(arch)
    assert list(narrowed.enumerate()) == list(narrowed.representatives()) == [arch]
    assert narrowed.largest == narrowed.smallest == narrowed.sample(random.Random(seed)) == arch
    assert narrowed.size() == 1
    assert not narrowed.kernel_transform
    assert narrowed.variants(arch) == narrowed.unit_variants() == space.variants(arch)
    assert [narrowed.full_unit(u) for u in range(units_of(space))] == list(space.variants(arch))
    assert narrowed.narrowed(arch) == narrowed
    assert DesignSpace.model_validate_json(narrowed.model_dump_json()) == narrowed
    other = next(a for a in space.representatives() if a != arch)
    assert not narrowed.contains(other)
    with pytest.raises(ValueError, match=f"{other.id}: expected {arch.id}, which is all"):
        narrowed.narrowed(other)


@pytest.mark.parametrize("subnet", ["d2@12", "d2-2-2@12", "d2-5@12", "d1-2@12"])
def test_depths_outside_the_space_are_refused(space: DesignSpace, subnet: str) -> None:
    assert not space.contains(Architecture.parse(subnet))
    with pytest.raises(ValueError, match=f"subnet {subnet}: expected 2 depths"):
        space.check(Architecture.parse(subnet))


@pytest.mark.parametrize(
    ("subnet", "expected"),
    [
        ("d2-2@13", "expected a resolution from [12, 16]"),
        ("d2-2/k3-3-5-5@12", "expected 0 kernels, got 4"),
        ("d2-2/e3-3-3-3@12", "expected 0 expand_ratios, got 4"),
    ],
)
def test_other_strangers_are_refused(space: DesignSpace, subnet: str, expected: str) -> None:
    with pytest.raises(ValueError, match="subnet") as caught:
        space.check(Architecture.parse(subnet))
    assert str(caught.value) == f"subnet {subnet}: {expected}"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"kernels": (9,) * 10}, "expected kernels of unit 0"),
        ({"expand_ratios": (5,) * 10}, "expected expand ratios from"),
        ({"kernels": (3,) * 9}, "expected 10 kernels, got 9"),
    ],
)
def test_free_choices_are_checked(change: dict[str, tuple[int, ...]], expected: str) -> None:
    choices = {"kernels": (3,) * 10, "expand_ratios": (3,) * 10} | change
    with pytest.raises(ValueError, match=expected):
        FREE.check(Architecture((2,) * 5, 224, **choices))


def test_a_space_too_large_to_list_says_so() -> None:
    assert FREE_KERNELS.size() == 5 * (3**2 + 3**3 + 3**4) ** 5
    assert FREE.size() == 5 * (9**2 + 9**3 + 9**4) ** 5
    for space in (FREE_KERNELS, FREE):
        for listing in (space.enumerate, space.unit_variants):
            with pytest.raises(ValueError, match="sample it instead"):
                listing()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"depths": (4, 3, 2)}, "expected increasing"),
        ({"expand_ratios": (3, 4)}, "one for each depth"),
        ({"kernels": ((3,),)}, "one entry a unit"),
        ({"kernels": ((),) * 5}, "the unit stores"),
        ({"resolutions": ()}, "at least 1 item"),
        ({"representative_kernels": (3, 5)}, "expected one of each unit's kernels"),
        ({"representative_kernels": (3, 5, 3, 3, 7)}, "expected one of each unit's kernels"),
        ({"only": "d2-2"}, "expected a form like"),
        ({"only": "d2-2@128"}, "expected 5 depths"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_an_inconsistent_space_is_refused(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        elastic(**changes)


def test_an_unknown_preset_lists_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"'mnist'.*imagenet-mbv3, .*fashion-mnist-mbv3"):
        design_space("mnist")


@given(st.floats(1, 1e5), st.sampled_from([1, 4, 8]))
def test_make_divisible_stays_near_and_never_cuts_a_tenth(channels: float, divisor: int) -> None:
    rounded = make_divisible(channels, divisor)
    assert rounded % divisor == 0
    assert rounded >= divisor
    assert rounded >= 0.9 * channels
    assert rounded <= max(channels + divisor, divisor)
