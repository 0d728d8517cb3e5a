"""Calibrate and evaluate as commands: from an imported net's shared statistics to a catalog."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from supernet import artifact
from supernet.artifact import Description
from supernet.catalog import Catalog
from supernet.design_space import DesignSpace
from supernet.latency import LatencyTable, read_bundled_tables
from supernet.manifest import Preprocessing, read_manifest
from supernet.model import Supernet
from supernet.normalization import SharedStatistics
from supernet.normalization_shapes import normalization_shapes
from training.cli import main

ONE = "d2-3@12"


@pytest.fixture
def imported(space: DesignSpace, tables: tuple[LatencyTable, LatencyTable], tmp_path: Path) -> Path:
    """A random net for three channels and three classes, with statistics as imported ones have."""
    skeleton = space.skeleton.model_copy(update={"in_channels": 3, "classes": 3})
    own = space.model_copy(update={"skeleton": skeleton})
    torch.manual_seed(0)
    shared = SharedStatistics()
    shapes = normalization_shapes("shared-statistics", own, [])
    shared.load(
        {n: torch.zeros(s) if n.endswith("mean") else torch.ones(s) for n, s in shapes.items()}
    )
    description = Description(
        "imported",
        Preprocessing(mean=(0.5,) * 3, std=(0.25,) * 3, centre_crop=0.875),
        labels=("0", "1", "2"),
    )
    artifact.save(tmp_path / "net", Supernet(own, shared), description, tables)
    return tmp_path / "net"


def _run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def test_from_shared_statistics_to_a_full_catalog(
    imported: Path, image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ("--data", image_folder, "--workers", 0, "--threads", 1)
    assert _run("evaluate", imported, *data, "--subnet", ONE) == 0
    assert "'compofa calibrate' first" in capsys.readouterr().err
    assert _run("calibrate", imported, *data, "--images", 20) == 0
    assert read_manifest(imported).normalization == "subnet-statistics"
    assert "calibrated 18 subnets on 20 images" in capsys.readouterr().out
    assert _run("evaluate", imported, *data, "--json", "--write") == 0
    found = {e["subnet"]: e["accuracy"] for e in json.loads(capsys.readouterr().out)}
    catalog = artifact.load(imported).manifest.catalog
    assert {e.subnet: e.accuracy for e in catalog.entries} == {
        subnet: round(accuracy, 5) for subnet, accuracy in found.items()
    }
    assert len(catalog) == 18
    assert len(set(found.values())) > 1
    assert {table.device_class for table in read_bundled_tables(imported)} == {"alpha", "beta"}
    shutil.copytree(image_folder / "val", image_folder / "test")
    assert _run("evaluate", imported, *data, "--write", "--subnet", ONE, "--images", 5) == 0
    entry = read_manifest(imported).catalog[ONE]
    assert entry.test_accuracy is not None
    assert entry.accuracy == round(found[ONE], 5)


def test_one_subnet_alone_leaves_the_others_to_be_calibrated(
    imported: Path, image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ("--data", image_folder / "train", "--workers", 0)
    assert _run("calibrate", imported, *data, "--subnet", ONE) == 0
    assert _run("evaluate", imported, *data, "--subnet", ONE) == 0
    capsys.readouterr()
    assert _run("evaluate", imported, *data) == 1
    assert "calibrate ARTIFACT --subnet d2-2@12" in capsys.readouterr().err


def test_calibrating_one_subnet_unlists_those_that_lost_their_statistics(
    imported: Path, image_folder: Path, catalog: Catalog, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = artifact.load(imported)
    description = Description.of(loaded)
    listed = Description(description.name, description.preprocessing, description.labels, catalog)
    artifact.save(imported, loaded.supernet, listed)
    assert _run("calibrate", imported, "--data", image_folder, "--workers", 0, "--subnet", ONE) == 0
    assert "17 subnets without statistics are no longer listed" in capsys.readouterr().out
    assert list(artifact.load(imported).manifest.catalog.subnets()) == [ONE]


def test_what_does_not_fit_is_one_line(
    imported: Path, artifact_folder: Path, image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (image_folder / "text").mkdir()
    for arguments, message in (
        (("calibrate", artifact_folder, "--data", image_folder), "is folded"),
        (("evaluate", artifact_folder, "--data", image_folder), "its classes are not the net's"),
        (("evaluate", imported), "the net's labels are not Fashion-MNIST's"),
        (("evaluate", imported, "--data", image_folder / "text"), "expected Fashion-MNIST's four"),
        (("evaluate", imported, "--data", image_folder / "none"), "there is no such folder"),
        (
            ("evaluate", imported, "--data", image_folder, "--split", "test"),
            "has no test split: use --split validation",
        ),
        (("evaluate", imported, "--data", image_folder, "--subnet", "d9@1"), "subnet d9@1"),
    ):
        assert _run(*arguments, "--workers", 0) == 1
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_a_bad_file_is_refused_or_skipped_as_asked(
    imported: Path, image_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (image_folder / "val" / "bee" / "01.jpg").write_text("no image")
    data = ("--data", image_folder, "--workers", 0)
    assert _run("evaluate", imported, *data, "--subnet", ONE) == 1
    assert "val/bee/01.jpg: not an image" in capfd.readouterr().err
    assert _run("evaluate", imported, *data, "--subnet", ONE, "--unreadable", "skip") == 0
    assert "skipped 1 unreadable files" in capfd.readouterr().err
