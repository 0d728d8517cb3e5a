"""The folder of a net that is served gets another one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from gateway.engines.net import Net
from supernet import artifact
from supernet.architecture import Architecture

SMALLEST = Architecture.parse("d2-2@12")


def replace(folder: Path) -> None:
    """Save the same net with other weights over it."""
    other = artifact.load(folder)
    with torch.no_grad():
        other.supernet.classifier.weight.mul_(2)
    artifact.save(folder, other.supernet, artifact.Description.of(other))


@pytest.fixture
def folder(artifact_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(artifact_folder, tmp_path / "net"))


def test_another_net_in_the_folder_is_not_built_from(folder: Path) -> None:
    net = Net(folder)
    replace(folder)
    with pytest.raises(ValueError, match=r"net: expected the net that is served, \w+, found \w+"):
        net.subnet(SMALLEST)
    with pytest.raises(ValueError, match="expected the net that is served"):
        net.pieces()


def test_what_is_kept_does_not_change_with_the_folder(folder: Path) -> None:
    net, x = Net(folder), torch.zeros(1, 1, 12, 12)
    net.keep()
    before = Net(folder).subnet(SMALLEST)(x)
    replace(folder)
    assert torch.equal(net.subnet(SMALLEST)(x), before)
    assert not torch.equal(Net(folder).subnet(SMALLEST)(x), before)
