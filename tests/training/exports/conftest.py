"""The tiny net and the shipped one, and the smallest subnet of the tiny net in each format."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from supernet import artifact, shipped
from supernet.architecture import Architecture
from supernet.artifact import Artifact
from supernet.manifest import Manifest
from training.exports.export import export
from training.exports.formats import FORMATS

Exported = Callable[[str], Path]

SMALLEST = Architecture.parse("d2-2@12")


@pytest.fixture(scope="session")
def tiny(artifact_folder: Path) -> Artifact:
    return artifact.load(artifact_folder)


@pytest.fixture(scope="session")
def fashion() -> Artifact:
    return artifact.load(shipped.artifact_folder())


@pytest.fixture(scope="session")
def exported(tiny: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The smallest subnet of the tiny net in a format, in a folder of its own. Shared."""

    @functools.cache
    def file(name: str) -> Path:
        path = tmp_path_factory.mktemp(name) / f"net{FORMATS[name].suffix}"
        export(tiny, SMALLEST, name, path)
        return path

    return file


def check_metadata(found: dict[str, Any], manifest: Manifest) -> None:
    """Against the manifest; ONNX has every value as text, JSON where it is not words."""

    def value(key: str) -> Any:
        text = found[key]
        return json.loads(text) if isinstance(text, str) else text

    assert found["subnet"] == SMALLEST.id
    assert found["artifact"] == manifest.name
    assert found["artifact_hash"] == manifest.artifact_hash
    assert found["compofa_version"]
    assert tuple(value("labels")) == manifest.labels
    assert value("expected_accuracy") == manifest.catalog[SMALLEST.id].accuracy
    preprocessing = value("preprocessing")
    assert preprocessing["resolution"] == SMALLEST.resolution
    assert tuple(preprocessing["mean"]) == manifest.of_images.mean
    assert tuple(preprocessing["std"]) == manifest.of_images.std
    assert preprocessing["colour"] == "grayscale"
    assert "bilinear" in preprocessing["resize"]
