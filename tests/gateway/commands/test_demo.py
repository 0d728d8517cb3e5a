from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from gateway.client import Client
from gateway.commands import demo
from supernet.manifest import read_manifest


@pytest.fixture
def images(tmp_path: Path, artifact_folder: Path) -> list[demo.LabelledImage]:
    rng, labels = np.random.default_rng(0), read_manifest(artifact_folder).labels
    made = []
    for i, label in enumerate(labels):
        path = tmp_path / f"{i}.png"
        Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8)).save(path)
        made.append((path, label))
    return made


def test_shows_what_each_device_class_was_answered(
    artifact_folder: Path, images: list[demo.LabelledImage]
) -> None:
    written = io.StringIO()
    assert demo.run(artifact_folder, images, Console(width=140, file=written)) == 0
    said = written.getvalue()
    for word in ("alpha", "beta", "d4-4@16", "expected accuracy", "measured ms", "/metrics"):
        assert word in said
    assert "compofa_subnets_selected" in said
    assert said.rstrip().endswith("The gateway has drained and ended.")


def interrupted(artifact: Path, seen: list[str]) -> None:
    with demo.gateway_process(artifact) as address, Client(address.target) as client:
        client.device_classes()
        seen.append(address.target)
        raise KeyboardInterrupt


def test_an_interruption_leaves_no_process(artifact_folder: Path) -> None:
    seen: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(artifact_folder, seen)
    with Client(seen[0]) as client, pytest.raises(ValueError, match="UNAVAILABLE"):
        client.device_classes()


def test_a_gateway_that_does_not_start_is_quoted(tmp_path: Path) -> None:
    with (
        pytest.raises(demo.DemoError, match=r"did not start: .*expected a folder"),
        demo.gateway_process(tmp_path / "nothing"),
    ):
        pytest.fail("it started")


def test_at_least_one_image() -> None:
    with pytest.raises(ValueError, match="--images 0: expected at least 1"):
        demo.run_shipped(0)
