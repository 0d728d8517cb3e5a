"""An artifact of a space too large to list: its catalog predicted, and what predicted it kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from supernet import artifact
from supernet.accuracy_predictor import AccuracyPredictor
from supernet.catalog import Catalog, CatalogEntry
from supernet.manifest import Preprocessing
from supernet.model import Supernet
from supernet.normalization import SharedStatistics
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
