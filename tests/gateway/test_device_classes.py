from __future__ import annotations

from pathlib import Path

import pytest

from gateway.device_classes import DeviceClasses
from gateway.errors import UnknownDeviceClass
from gateway.request import Constraints
from gateway.select import select
from gateway.tables import StoredTable
from supernet.latency import LatencyTable, read_bundled_tables
from supernet.manifest import Manifest, read_manifest


@pytest.fixture
def manifest(artifact_folder: Path) -> Manifest:
    return read_manifest(artifact_folder)


@pytest.fixture
def bundled(artifact_folder: Path) -> list[LatencyTable]:
    return read_bundled_tables(artifact_folder)


@pytest.fixture
def classes(manifest: Manifest, bundled: list[LatencyTable]) -> DeviceClasses:
    return DeviceClasses(manifest, bundled)


def kept(*tables: LatencyTable, version: int = 1) -> dict[str, StoredTable]:
    """Tables as a store has them."""
    return {table.device_class: StoredTable(version, table) for table in tables}


def test_bundled_tables_are_version_zero(classes: DeviceClasses) -> None:
    assert [(i.name, i.version, i.subnets) for i in classes.infos()] == [
        ("alpha", 0, 18),
        ("beta", 0, 18),
    ]


@pytest.mark.parametrize("how", ["replace", "replace_warm"])
def test_a_store_s_tables_hide_bundled_ones_of_the_same_name(
    classes: DeviceClasses, bundled: list[LatencyTable], how: str
) -> None:
    before, replace = classes.candidates("alpha"), getattr(classes, how)
    slow = bundled[0].scaled(1000, "alpha", default_budget_ms=1.0)
    replace(kept(slow, bundled[0].scaled(2, "gamma", default_budget_ms=1.0)))
    assert [(i.name, i.version) for i in classes.infos()] == [
        ("alpha", 1),
        ("beta", 0),
        ("gamma", 1),
    ]
    slower = classes.candidates("alpha").tier().frontier[0].latency_ms
    assert slower == pytest.approx(1000 * before.tier().frontier[0].latency_ms)
    replace({})
    assert [(i.name, i.version) for i in classes.infos()] == [("alpha", 0), ("beta", 0)]
    assert classes.candidates("alpha").tier().frontier == before.tier().frontier


def test_candidates_are_made_once_for_a_table(
    classes: DeviceClasses, bundled: list[LatencyTable]
) -> None:
    alpha, beta = classes.candidates("alpha"), classes.candidates("beta")
    stored = kept(bundled[0].scaled(2, "alpha", default_budget_ms=1.0))
    for replace in (classes.replace, classes.replace_warm):
        replace(stored)
        assert classes.candidates("alpha") is classes.candidates("alpha") is not alpha
        assert classes.candidates("beta") is beta


def test_unknown_classes_list_the_known(classes: DeviceClasses) -> None:
    with pytest.raises(UnknownDeviceClass, match="there are alpha, beta"):
        classes.candidates("gamma")


def test_a_fallback_serves_unknown_classes(manifest: Manifest, bundled: list[LatencyTable]) -> None:
    classes = DeviceClasses(manifest, bundled, fallback="beta")
    classes.check_fallback()
    assert classes.candidates("gamma") is classes.candidates("beta")
    assert classes.candidates("alpha") is not classes.candidates("beta")
    with pytest.raises(ValueError, match="'gamma' is not known"):
        DeviceClasses(manifest, bundled, fallback="gamma").check_fallback()


def test_a_bundled_table_of_another_artifact_is_refused(
    manifest: Manifest, bundled: list[LatencyTable]
) -> None:
    other = bundled[0].model_copy(update={"artifact_hash": "0" * 32})
    with pytest.raises(ValueError, match=r"'alpha': the table .* belongs to another"):
        DeviceClasses(manifest, [other])


def test_selection_uses_the_class_default_budget(classes: DeviceClasses) -> None:
    fast = select(classes.candidates("alpha"), Constraints("alpha"))
    slow = select(classes.candidates("beta"), Constraints("beta"))
    assert fast.accuracy > slow.accuracy
