"""What the wheel holds, and that every dependency is pinned to a version in its range."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
TOP_LEVEL = ("supernet", "training", "gateway", "protos")


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names in a wheel built from a copy of the source."""
    source = tmp_path_factory.mktemp("source")
    for name in TOP_LEVEL:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE", "compofa.py"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (source / "dist").glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def test_every_package_is_listed(pyproject: dict[str, Any]) -> None:
    on_disk = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for name in TOP_LEVEL
        for file in (ROOT / name).rglob("__init__.py")
    }
    assert set(pyproject["tool"]["setuptools"]["packages"]) == on_disk


def test_the_wheel_holds_every_file_of_the_packages_and_no_tests(wheel: list[str]) -> None:
    expected = {
        str(path.relative_to(ROOT))
        for name in TOP_LEVEL
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    found = {name for name in wheel if ".dist-info/" not in name}
    assert found == expected | {"compofa.py"}
    assert any(name.endswith("licenses/LICENSE") for name in wheel)


def test_the_console_script_is_there() -> None:
    (script,) = entry_points(group="console_scripts", name="compofa")
    assert script.value == "compofa:main"
    assert callable(script.load())


def test_every_dependency_is_pinned_within_its_range(pyproject: dict[str, Any]) -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    project = pyproject["project"]
    extras = [text for group in project["optional-dependencies"].values() for text in group]
    for requirement in map(Requirement, [*project["dependencies"], *extras]):
        assert requirement.specifier, f"{requirement} has no range"
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])


def test_every_dependency_is_explained(pyproject: dict[str, Any]) -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text()
    project = pyproject["project"]
    extras = [text for group in project["optional-dependencies"].values() for text in group]
    for requirement in map(Requirement, [*project["dependencies"], *extras]):
        assert f"| {requirement.name} |" in text


def test_the_changelog_knows_this_version_or_is_unreleased() -> None:
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()
