"""An artifact with enough subnets that measuring their pieces is less work."""

from __future__ import annotations

from pathlib import Path

import pytest

from supernet import artifact
from supernet.artifact import Artifact, Description
from supernet.manifest import Preprocessing
from tests.conftest import FoldRandomly
from tests.supernet.block_times import small_space


@pytest.fixture(scope="session")
def cubic_folder(tmp_path_factory: pytest.TempPathFactory, fold_randomly: FoldRandomly) -> Path:
    """Three units, 27 subnets at each of 16 and 24 pixels; no catalog. Shared: do not change."""
    space = small_space(((3,),) * 3, (16, 24), compound=True)
    folder = tmp_path_factory.mktemp("artifacts") / "cubic"
    preprocessing = Preprocessing(mean=(0.5,) * 3, std=(0.25,) * 3)
    labels = tuple(map(str, range(10)))
    artifact.save(folder, fold_randomly(space), Description("cubic", preprocessing, labels))
    return folder


@pytest.fixture(scope="session")
def cubic(cubic_folder: Path) -> Artifact:
    return artifact.load(cubic_folder)
