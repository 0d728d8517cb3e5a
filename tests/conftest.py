"""What several packages' tests share: a tiny design space, a folded net on it, and its artifact.

The weights and normalisations are random but fixed by a seed; nothing here is trained.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
import torch
from torch import Tensor

from supernet import artifact
from supernet.architecture import Architecture
from supernet.catalog import Catalog, CatalogEntry
from supernet.complexity import complexity
from supernet.design_space import DesignSpace
from supernet.latency import LatencyTable
from supernet.manifest import Preprocessing
from supernet.mobilenet import MobileNetSkeleton, UnitSpec
from supernet.model import Supernet
from supernet.normalization import Convolution, PieceAffine, PieceNorm, Position

if TYPE_CHECKING:
    from tests.redis_server import RedisServer

LABELS = ("ankle boot", "bag", "coat", "dress", "pullover",
          "sandal", "shirt", "sneaker", "t-shirt", "trouser")  # fmt: skip
NANOSECONDS_PER_MAC = 20  # a slow device, so that latencies are a few tenths of a millisecond

# A shared machine may be slow for a moment; pytest-timeout catches what really hangs.
hypothesis.settings.register_profile("compofa", deadline=None)
hypothesis.settings.load_profile("compofa")

# A shell that runs the tests behind itself has them ignore Ctrl-C, and all that they start as well.
signal.signal(signal.SIGINT, signal.default_int_handler)

LONGEST = ("services/test_training.py", "training/test_trainer.py", "services/test_fetch.py")
"""A minute and more each. Files are handed to processes in this order, one at a time: the last of
them are short, and leave no process alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.path.as_posix().endswith(LONGEST))


FoldRandomly = Callable[[DesignSpace], Supernet]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Nets this small lose time to more threads, and to threads that spin."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _no_store_of_one_s_own() -> None:
    """No test may write to the store that whoever runs it works with."""
    os.environ.pop("COMPOFA_STORE", None)


@pytest.fixture(scope="session", autouse=True)
def _no_traces_of_one_s_own() -> None:
    """No test may send traces to where whoever runs it sends theirs."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        del os.environ[name]


@pytest.fixture(scope="session", autouse=True)
def _compiled_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What gateways compile goes to no cache of whoever runs the tests, nor comes from one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def _redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    from tests.redis_server import RedisServer, running

    with running(RedisServer(tmp_path_factory.mktemp("redis"))) as server:
        yield server


@pytest.fixture
def redis_server(_redis_server: RedisServer) -> RedisServer:
    """A server for all tests that leave it running, emptied for this one."""
    _redis_server.ask("FLUSHALL")
    return _redis_server


@pytest.fixture(scope="session")
def space() -> DesignSpace:
    """Two units, 9 subnets at each of 12 and 16 pixels, one input channel, ten classes."""
    return DesignSpace(
        name="tiny",
        skeleton=MobileNetSkeleton(
            in_channels=1,
            stem_channels=8,
            stem_stride=2,
            first_block_channels=8,
            units=(
                UnitSpec(out_channels=8, stride=1, activation="relu", se=False, kernel=3),
                UnitSpec(out_channels=16, stride=2, activation="h_swish", se=True, kernel=5),
            ),
            head_channels=32,
            feature_channels=32,
            classes=len(LABELS),
        ),
        depths=(2, 3, 4),
        expand_ratios=(3, 4, 6),
        compound=True,
        kernels=((3,), (5,)),
        resolutions=(12, 16),
    )


@pytest.fixture(scope="session")
def fold_randomly() -> FoldRandomly:
    """Builds a folded supernet on any compound space, with random weights and affines."""
    return _fold_randomly


@pytest.fixture(scope="session")
def folded_supernet(space: DesignSpace) -> Supernet:
    """A net on `space` whose pieces each carry an affine of their own. Shared: do not change."""
    return _fold_randomly(space)


@pytest.fixture(scope="session")
def catalog(space: DesignSpace) -> Catalog:
    """Every subnet of `space`, its made-up accuracy rising with its cost."""
    costs = {arch.id: complexity(space, arch) for arch in space.enumerate()}
    most = max(cost.macs for cost in costs.values())
    return Catalog(
        entries=tuple(
            CatalogEntry(
                subnet=subnet,
                accuracy=0.5 + 0.4 * cost.macs / most,
                test_accuracy=0.5 + 0.39 * cost.macs / most,
                macs=cost.macs,
                parameters=cost.parameters,
            )
            for subnet, cost in costs.items()
        )
    )


@pytest.fixture(scope="session")
def description(catalog: Catalog) -> artifact.Description:
    preprocessing = Preprocessing(mean=(0.5,), std=(0.25,))
    return artifact.Description("tiny", preprocessing, LABELS, catalog)


@pytest.fixture(scope="session")
def tables(catalog: Catalog) -> tuple[LatencyTable, LatencyTable]:
    """Device classes `alpha`, and `beta` four times as slow; both have a default budget."""
    milliseconds = {e.subnet: e.macs * NANOSECONDS_PER_MAC / 1e6 for e in catalog.entries}
    alpha = LatencyTable(
        device_class="alpha",
        artifact_hash="0" * 32,  # `save` puts the real one
        source="not measured: made up for tests",
        measured=False,
        latency_ms=milliseconds,
        default_budget_ms=max(milliseconds.values()),
    )
    return alpha, alpha.scaled(4.0, "beta", default_budget_ms=max(milliseconds.values()))


@pytest.fixture(scope="session")
def artifact_folder(
    tmp_path_factory: pytest.TempPathFactory,
    folded_supernet: Supernet,
    description: artifact.Description,
    tables: tuple[LatencyTable, LatencyTable],
) -> Path:
    """A saved artifact with a full catalog and both tables. Shared: copy it to change it."""
    folder = tmp_path_factory.mktemp("artifacts") / "tiny"
    artifact.save(folder, folded_supernet, description, tables)
    return folder


def _fold_randomly(space: DesignSpace) -> Supernet:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        supernet = Supernet(space)
        affines = PieceAffine()
        for depth in space.depths:  # three subnets meet every piece once
            arch = Architecture((depth,) * space.skeleton.unit_count, space.resolutions[0])
            _give_affines(supernet, arch, affines)
        supernet.normalization = affines
        supernet.classifier.weight.normal_(std=0.3)
        supernet.classifier.bias.normal_()
    return supernet.eval().requires_grad_(False)


def _give_affines(supernet: Supernet, arch: Architecture, affines: PieceAffine) -> None:
    """Run `arch` once; each piece met gets affines that keep its activations in range."""
    position = Position.start(arch.resolution)
    x = torch.randn(2, *supernet.space.skeleton.inputs.shape(arch.resolution))
    x = supernet.run_stem(x, _recording(affines, position))
    for variant in supernet.space.variants(arch):
        position = position.then(variant.name)
        x = supernet.run_unit(x, variant, _recording(affines, position))
    supernet.run_head(x, _recording(affines, position.then("head")))


def _recording(affines: PieceAffine, position: Position) -> PieceNorm:
    def norm(layer: str, conv: Convolution, x: Tensor) -> Tensor:
        y = conv(x, conv.weight)
        var, mean = torch.var_mean(y, (0, 2, 3))
        scale = (0.5 + torch.rand_like(mean)) * torch.rsqrt(var + 1e-2)
        affines.add(position.piece, layer, scale, torch.rand_like(mean) - mean * scale)
        return affines.at(position)(layer, conv, x)

    return norm
