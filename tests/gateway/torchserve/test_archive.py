"""What an archive of a whole family holds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from gateway.stores.by_url import ask
from gateway.torchserve.archive import HANDLER, family_files
from supernet.latency import LatencyTable
from supernet.manifest import read_manifest


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPOFA_STATE_DIR", str(tmp_path / "state"))


def test_the_artifact_and_its_tables(artifact_folder: Path) -> None:
    name, files = family_files(artifact_folder)
    assert name == HANDLER
    assert sorted(files) == [
        "artifact/artifact.json",
        "artifact/norm.safetensors",
        "artifact/tables/alpha.json",
        "artifact/tables/beta.json",
        "artifact/weights.safetensors",
        HANDLER,
    ]


def test_a_table_of_the_store_hides_the_one_that_came_along(
    artifact_folder: Path, tables: tuple[LatencyTable, LatencyTable]
) -> None:
    own = {"artifact_hash": read_manifest(artifact_folder).artifact_hash}
    newer = tables[0].scaled(2.0, "alpha", default_budget_ms=5.0).model_copy(update=own)
    other = tables[0].scaled(3.0, "gamma", default_budget_ms=5.0).model_copy(update=own)
    for table in (newer, other):
        ask(None, lambda store, table=table: store.put(table))  # type: ignore[misc]
    _, files = family_files(artifact_folder)
    kept = {name: json.loads(files[f"artifact/tables/{name}.json"]) for name in ("alpha", "gamma")}
    assert kept["alpha"]["latency_ms"] == newer.latency_ms
    assert kept["gamma"]["latency_ms"] == other.latency_ms


def test_without_tables_nothing_can_be_chosen(artifact_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "net"
    shutil.copytree(artifact_folder, folder)
    shutil.rmtree(folder / "tables")
    with pytest.raises(ValueError, match="there is no latency table to choose subnets by"):
        family_files(folder)
