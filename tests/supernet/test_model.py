"""The law: chain of pieces = extracted subnet = elastic forward, whoever else is running."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from torch import Tensor, nn

from supernet.architecture import Architecture
from supernet.design_space import DesignSpace
from supernet.extract import extract, piece_names, pieces
from supernet.model import Supernet
from supernet.presets import design_space

FoldRandomly = Callable[[DesignSpace], Supernet]


def images(space: DesignSpace, resolution: int, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(resolution + batch)
    shape = (batch, *space.skeleton.inputs.shape(resolution))
    return torch.randn(shape, generator=generator)


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def chained(parts: dict[str, nn.Module], names: Iterable[str], x: Tensor) -> Tensor:
    for name in names:
        x = parts[name](x)
    return x


def assert_law(supernet: Supernet, parts: dict[str, nn.Module], arch: Architecture, n: int) -> None:
    x = images(supernet.space, arch.resolution, batch=n)
    elastic = supernet(x, arch)
    assert elastic.shape == (n, supernet.space.skeleton.classes)
    assert elastic.isfinite().all()
    assert_close(extract(supernet, arch)(x), elastic)
    assert_close(chained(parts, piece_names(supernet, arch), x), elastic)


def test_law_on_a_sixth_of_the_small_preset(fold_randomly: FoldRandomly) -> None:
    supernet = fold_randomly(design_space("fashion-mnist-mbv3"))
    space, parts = supernet.space, pieces(supernet)
    assert len(parts) == 17
    every = [a for a in space.enumerate() if a.resolution == space.resolutions[0]]
    assert len(every) == 243
    for i, at_lowest in enumerate(random.Random(0).sample(every, 40)):
        resolution = space.resolutions[i % len(space.resolutions)]
        arch = Architecture(at_lowest.depths, resolution)
        assert_law(supernet, parts, arch, n=1 + i // 3 % 2)


@pytest.mark.slow
def test_law_on_every_subnet_and_resolution(fold_randomly: FoldRandomly) -> None:
    supernet = fold_randomly(design_space("fashion-mnist-mbv3"))
    parts = pieces(supernet)
    for arch in supernet.space.enumerate():
        assert_law(supernet, parts, arch, n=3)


@pytest.mark.parametrize("preset", ["imagenet-mbv3", "imagenet-mbv3-w1.2"])
def test_law_on_a_sample_of_the_imagenet_presets(fold_randomly: FoldRandomly, preset: str) -> None:
    supernet = fold_randomly(design_space(preset))
    space, parts, rng = supernet.space, pieces(supernet), random.Random(0)
    assert len(parts) == 17
    for resolution, batch in ((128, 1), (128, 2), (160, 1), (224, 1)):
        assert_law(supernet, parts, space.sample(rng, resolution=resolution), batch)


def test_law_on_every_tiny_subnet(folded_supernet: Supernet) -> None:
    parts = pieces(folded_supernet)
    for arch in folded_supernet.space.enumerate():
        for batch in (1, 5):
            assert_law(folded_supernet, parts, arch, batch)


def test_subnets_differ(folded_supernet: Supernet) -> None:
    space = folded_supernet.space
    x = images(space, 16)
    logits = [folded_supernet(x, a) for a in space.enumerate() if a.resolution == 16]
    for i, one in enumerate(logits):
        assert all((one - other).abs().max() > 1e-3 for other in logits[:i])


def test_shared_prefixes_give_what_each_path_gives_alone(folded_supernet: Supernet) -> None:
    space = folded_supernet.space
    archs = {space.variants(a): a for a in space.enumerate() if a.resolution == 16}
    x = images(space, 16)
    found = dict(folded_supernet.run_paths(x, 16, archs))
    assert found.keys() == archs.keys()
    for path, logits in found.items():
        assert_close(logits, folded_supernet(x, archs[path]))


def test_rows_do_not_depend_on_each_other(folded_supernet: Supernet) -> None:
    space = folded_supernet.space
    x = images(space, 16, batch=4)
    together = folded_supernet(x, space.largest)
    alone = torch.cat([folded_supernet(row[None], space.largest) for row in x.unbind()])
    assert_close(alone, together)


def test_an_extracted_subnet_owns_its_weights(fold_randomly: FoldRandomly) -> None:
    space = design_space("fashion-mnist-mbv3")
    supernet, x = fold_randomly(space), images(space, 20)
    subnet, parts = extract(supernet, space.smallest), pieces(supernet)
    before = subnet(x)
    for tensor in [*supernet.parameters(), *supernet.normalization.parameters()]:
        tensor.zero_()
    assert torch.equal(subnet(x), before)
    names = piece_names(supernet, space.smallest)
    assert_close(chained(parts, names, x), before)


def test_threads_running_different_architectures_do_not_disturb_each_other(
    folded_supernet: Supernet,
) -> None:
    space = folded_supernet.space
    ends = (space.largest, space.smallest)
    inputs = {arch: images(space, arch.resolution) for arch in ends}
    alone = {arch: folded_supernet(inputs[arch], arch) for arch in ends}
    together = Barrier(len(ends))

    def worst(arch: Architecture) -> float:
        together.wait(timeout=30)
        runs = [folded_supernet(inputs[arch], arch) for _ in range(200)]
        return float((torch.stack(runs) - alone[arch]).abs().max())

    with ThreadPoolExecutor(len(ends)) as pool:
        assert max(pool.map(worst, ends)) <= 1e-5


def test_a_net_in_training_cannot_be_extracted(space: DesignSpace) -> None:
    with pytest.raises(ValueError, match="calibrate or fold it first"):
        extract(Supernet(space), space.smallest)


def test_a_stranger_cannot_be_extracted(folded_supernet: Supernet) -> None:
    with pytest.raises(ValueError, match=r"d2-2@13: expected a resolution"):
        extract(folded_supernet, Architecture((2, 2), 13))


def test_what_does_not_fit_the_net_is_told(folded_supernet: Supernet) -> None:
    x = torch.zeros(1, 1, 16, 16)
    for subnet, message in (
        ("d5-2@16", "expected 2 depths"),
        ("d2-2-2@16", "expected 2 depths"),
        ("d2-2@15", "expected a resolution"),
        ("d2-2@12", r"images of shape \[1, 1, 16, 16\]"),
    ):
        with pytest.raises(ValueError, match=message):
            folded_supernet(x, Architecture.parse(subnet))
