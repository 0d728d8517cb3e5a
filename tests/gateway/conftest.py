"""An artifact of a space too large to list: its catalog predicted, and what predicted it kept.

And for the shared store: an artifact's own table, a follower, and a writer beside it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
import torch
from torch import nn

from gateway.stores.redis_store import RedisStore
from gateway.stores.table_follower import TableFollower
from supernet import artifact
from supernet.accuracy_predictor import AccuracyPredictor
from supernet.catalog import Catalog, CatalogEntry
from supernet.latency import LatencyTable, read_bundled_tables
from supernet.manifest import Manifest, Preprocessing, read_manifest
from supernet.model import Supernet
from supernet.normalization import SharedStatistics
from tests.gateway.following import follower_of
from tests.redis_server import RedisServer
from tests.supernet.block_times import small_space


@pytest.fixture(scope="session")
def predictor() -> AccuracyPredictor:
    """Random weights, so that all choices interact: some subnets are better than others."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Linear(128, 400), nn.ReLU(), nn.Linear(400, 400), nn.ReLU(),
                  nn.Linear(400, 400), nn.ReLU(), nn.Linear(400, 1)]  # fmt: skip
        net = nn.Sequential(*layers).requires_grad_(False)
    net[-1].bias.fill_(0.6)  # type: ignore[operator]
    net[-1].weight.mul_(2)  # type: ignore[operator]
    return AccuracyPredictor({name: tensor.numpy() for name, tensor in net.state_dict().items()})


@pytest.fixture(scope="session")
def elastic_artifact(
    tmp_path_factory: pytest.TempPathFactory, predictor: AccuracyPredictor
) -> Path:
    """Five small units with free kernels and expand ratios. Shared: copy it to change it."""
    space = small_space(((3, 5, 7),) * 5, (128, 160, 192))
    archs = [arch for arch in space.representatives() if arch.resolution != 128]
    catalog = Catalog(
        entries=tuple(
            CatalogEntry(subnet=arch.id, accuracy=round(accuracy, 5), macs=1, parameters=1)
            for arch, accuracy in zip(archs, predictor.predict(space, archs), strict=True)
        ),
        predicted_by="predictor.pth",
    )
    folder = tmp_path_factory.mktemp("artifacts") / "elastic"
    preprocessing = Preprocessing(mean=(0.5,) * 3, std=(0.25,) * 3)
    labels = tuple(map(str, range(10)))
    description = artifact.Description("elastic", preprocessing, labels, catalog, None, predictor)
    artifact.save(folder, Supernet(space, SharedStatistics()), description)
    return folder


@pytest.fixture
def manifest(artifact_folder: Path) -> Manifest:
    return read_manifest(artifact_folder)


@pytest.fixture
def alpha(artifact_folder: Path) -> LatencyTable:
    return read_bundled_tables(artifact_folder)[0]


@pytest.fixture
def key(manifest: Manifest) -> str:
    return f"compofa:{{{manifest.artifact_hash}}}"


@pytest.fixture
def follower(manifest: Manifest, alpha: LatencyTable, redis_server: RedisServer) -> TableFollower:
    return follower_of(manifest, alpha, lambda: RedisStore(redis_server.url))


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[RedisStore]:
    """Another process's view of the same store."""
    async with aclosing(RedisStore(redis_server.url)) as opened:
        yield opened
