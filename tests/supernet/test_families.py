"""What holds for every family: one forward, whichever way a subnet is run, cut out or copied."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from supernet import artifact
from supernet.artifact import Description
from supernet.complexity import complexity, piece_parameters
from supernet.design_space import DesignSpace
from supernet.extract import extract, piece_names, pieces
from supernet.importance import sort_channels
from supernet.manifest import AnyPreprocessing, Preprocessing, TextPreprocessing
from supernet.mobilenet import mobilenet
from supernet.model import Supernet
from supernet.narrow import narrow
from supernet.normalization import PieceAffine
from supernet.presets import design_space
from supernet.workload import workload

FoldRandomly = Callable[[DesignSpace], Supernet]
NAMES = ("fashion-mnist-mbv3", "fashion-mnist-proxyless", "words")
PREPROCESSING: dict[str, AnyPreprocessing] = {
    "image": Preprocessing(mean=(0.5,), std=(0.5,)),
    "tokens": TextPreprocessing(alphabet="abcdefghijklmnopqrstuvwxyz"),
}


@pytest.fixture(scope="module", params=NAMES)
def supernet(request: pytest.FixtureRequest, fold_randomly: FoldRandomly) -> Supernet:
    """Folded, where there is anything to fold."""
    space = design_space(request.param)
    if any(space.skeleton.normalised_ends):
        return fold_randomly(space)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Supernet(space, PieceAffine()).eval().requires_grad_(False)


def inputs(space: DesignSpace, resolution: int, batch: int = 2) -> Tensor:
    form, generator = space.skeleton.inputs, torch.Generator().manual_seed(resolution)
    shape = (batch, *form.shape(resolution))
    if form.kind == "tokens":
        return torch.randint(form.vocabulary, shape, generator=generator)
    return torch.randn(shape, generator=generator)


def test_subnet_chain_and_elastic_forward_agree(supernet: Supernet) -> None:
    space, parts, rng = supernet.space, pieces(supernet), random.Random(0)
    for arch in (space.smallest, space.largest, *(space.sample(rng) for _ in range(6))):
        x = inputs(space, arch.resolution)
        expected = supernet(x, arch)
        chain = nn.Sequential(*(parts[name] for name in piece_names(supernet, arch)))
        torch.testing.assert_close(extract(supernet, arch)(x), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(chain(x), expected, rtol=1e-4, atol=1e-4)


def test_paths_that_share_units_give_the_same(supernet: Supernet) -> None:
    space, rng = supernet.space, random.Random(1)
    resolution = space.resolutions[0]
    archs = {space.sample(rng, resolution=resolution) for _ in range(8)}
    paths = {space.variants(arch): arch for arch in archs}
    x = inputs(space, resolution)
    for path, logits in supernet.run_paths(x, resolution, paths):
        torch.testing.assert_close(logits, supernet(x, paths[path]), rtol=1e-4, atol=1e-4)


def test_a_narrowed_net_computes_the_same(supernet: Supernet) -> None:
    arch = supernet.space.sample(random.Random(2))
    narrowed = narrow(supernet, arch)
    x = inputs(supernet.space, arch.resolution)
    torch.testing.assert_close(narrowed(x, arch), supernet(x, arch), rtol=1e-4, atol=1e-4)
    held = sum(p.numel() for p in narrowed.parameters())
    assert held < sum(p.numel() for p in supernet.parameters())


def test_sorting_leaves_the_largest_as_it_was(supernet: Supernet) -> None:
    space = supernet.space
    unsorted = Supernet(space).requires_grad_(False)
    x = inputs(space, space.largest.resolution, batch=8)
    before = unsorted(x, space.largest), unsorted(x, space.smallest.at(x.shape[-1]))
    sort_channels(unsorted)
    after = unsorted(x, space.largest), unsorted(x, space.smallest.at(x.shape[-1]))
    torch.testing.assert_close(after[0], before[0], rtol=1e-3, atol=1e-3)
    assert (after[1] - before[1]).abs().max() > 1e-3


def test_costs_are_those_of_the_modules(supernet: Supernet) -> None:
    """Parameters exactly, but for the scale that folding takes away; MACs by their parts' sum."""
    space, parts = supernet.space, piece_parameters(supernet.space)
    for arch in (space.smallest, space.largest):
        found = complexity(space, arch)
        assert found.parameters == sum(parts[name] for name in piece_names(supernet, arch))
        held = sum(p.numel() for p in extract(supernet, arch).parameters())
        normed = (
            *space.skeleton.normalised_ends,
            *map(space.skeleton.normalised, space.variants(arch)),
        )
        scales = sum(sum(layers.values()) for layers in normed)
        assert found.parameters == held + scales
        assert workload(space, arch)[0] == 1
    assert complexity(space, space.largest).macs > complexity(space, space.smallest).macs


def test_an_artifact_comes_back_the_same(supernet: Supernet, tmp_path: Path) -> None:
    space = supernet.space
    labels = tuple("abcdefghij")
    preprocessing = PREPROCESSING[space.skeleton.inputs.kind]
    artifact.save(tmp_path / "net", supernet, Description("net", preprocessing, labels))
    loaded = artifact.load(tmp_path / "net")
    assert loaded.manifest.design_space == space
    assert loaded.manifest.preprocessing == preprocessing
    x = inputs(space, space.largest.resolution)
    torch.testing.assert_close(loaded.supernet(x, space.largest), supernet(x, space.largest))


def test_preprocessing_of_another_kind_is_refused(supernet: Supernet, tmp_path: Path) -> None:
    kind = supernet.space.skeleton.inputs.kind
    (wrong,) = (p for name, p in PREPROCESSING.items() if name != kind)
    with pytest.raises(ValueError, match="preprocessing: expected that of"):
        artifact.save(tmp_path / "net", supernet, Description("net", wrong, tuple("abcdefghij")))


def test_inputs_of_another_form_are_refused(supernet: Supernet) -> None:
    arch = supernet.space.smallest
    with pytest.raises(ValueError, match=r"takes \[B, "):
        supernet(torch.zeros(2, 5, 5), arch)


def test_proxyless_has_the_published_channels() -> None:
    """Of Once-for-All's net at width 1.3."""
    skeleton = mobilenet(design_space("imagenet-proxyless-w1.3").skeleton)
    assert (skeleton.stem_channels, skeleton.first_block_channels) == (40, 24)
    assert [unit.out_channels for unit in skeleton.units] == [32, 56, 104, 128, 248]
    assert (skeleton.head_in_channels, skeleton.head_channels) == (416, 1664)


def test_a_text_becomes_tokens() -> None:
    text = TextPreprocessing(alphabet="abc")
    assert text.tokens("cab!", 6) == [3, 1, 2, 0, 0, 0]
    assert text.tokens("cabbage", 3) == [3, 1, 2]
