from __future__ import annotations

import logging
from pathlib import Path

import pytest

from gateway.device_classes import CHECK_EVERY_S, DeviceClasses, check_subnets
from gateway.embedded_store import EmbeddedStore
from gateway.errors import UnknownDeviceClass
from gateway.request import Constraints
from gateway.select import select
from gateway.tables import StoreError
from supernet.latency import LatencyTable, read_bundled_tables
from supernet.manifest import Manifest, read_manifest


class Clock:
    """Time that moves when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def manifest(artifact_folder: Path) -> Manifest:
    return read_manifest(artifact_folder)


@pytest.fixture
def bundled(artifact_folder: Path) -> list[LatencyTable]:
    return read_bundled_tables(artifact_folder)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tables.sqlite3"


@pytest.fixture
def classes(
    manifest: Manifest, bundled: list[LatencyTable], path: Path, clock: Clock
) -> DeviceClasses:
    return DeviceClasses(manifest, bundled, EmbeddedStore(path), clock=clock)


def test_bundled_tables_are_version_zero(classes: DeviceClasses) -> None:
    assert [(i.name, i.version, i.subnets) for i in classes.infos()] == [
        ("alpha", 0, 18),
        ("beta", 0, 18),
    ]


def test_a_push_by_another_process_shows_within_a_second(
    classes: DeviceClasses, bundled: list[LatencyTable], path: Path, clock: Clock
) -> None:
    before = classes.candidates("alpha")
    other = EmbeddedStore(path)
    other.put(bundled[0].scaled(1000, "alpha", default_budget_ms=1.0))
    other.put(bundled[0].scaled(2, "gamma", default_budget_ms=1.0))
    clock.now += CHECK_EVERY_S / 2
    assert classes.candidates("alpha") is before
    clock.now += CHECK_EVERY_S
    assert [(i.name, i.version) for i in classes.infos()] == [
        ("alpha", 1),
        ("beta", 0),
        ("gamma", 1),
    ]
    slower = classes.candidates("alpha").tier().frontier[0].latency_ms
    assert slower == pytest.approx(1000 * before.tier().frontier[0].latency_ms)
    other.rollback(bundled[0].artifact_hash, "alpha", 0)
    clock.now += CHECK_EVERY_S
    assert classes.table("alpha").version == 0


def test_candidates_are_made_once(classes: DeviceClasses, clock: Clock) -> None:
    first = classes.candidates("alpha")
    clock.now += 10 * CHECK_EVERY_S
    assert classes.candidates("alpha") is first


def test_unknown_classes_list_the_known(classes: DeviceClasses) -> None:
    with pytest.raises(UnknownDeviceClass, match="there are alpha, beta"):
        classes.candidates("gamma")


def test_a_fallback_serves_unknown_classes(
    manifest: Manifest, bundled: list[LatencyTable], path: Path
) -> None:
    classes = DeviceClasses(manifest, bundled, EmbeddedStore(path), fallback="beta")
    assert classes.candidates("gamma") is classes.candidates("beta")
    assert classes.candidates("alpha") is not classes.candidates("beta")
    with pytest.raises(ValueError, match="'gamma' is not known"):
        DeviceClasses(manifest, bundled, EmbeddedStore(path), fallback="gamma")


def test_a_store_that_breaks_leaves_the_last_tables_in_use(
    classes: DeviceClasses,
    bundled: list[LatencyTable],
    path: Path,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    EmbeddedStore(path).put(bundled[0].scaled(2, "gamma", default_budget_ms=1.0))
    clock.now += CHECK_EVERY_S
    assert classes.table("gamma").version == 1
    for file in path.parent.iterdir():
        file.unlink()
    path.write_bytes(b"no database any more" * 100)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            clock.now += CHECK_EVERY_S
            assert classes.table("gamma").version == 1
    assert not classes.store_ok
    assert [str(path) in record.getMessage() for record in caplog.records] == [True]
    path.unlink()
    clock.now += CHECK_EVERY_S
    assert [i.name for i in classes.infos()] == ["alpha", "beta"]
    assert classes.store_ok


def test_a_broken_store_is_told_at_the_start(
    manifest: Manifest, bundled: list[LatencyTable], path: Path
) -> None:
    path.write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match=str(path)):
        DeviceClasses(manifest, bundled, EmbeddedStore(path))


def test_a_bundled_table_of_another_artifact_is_refused(
    manifest: Manifest, bundled: list[LatencyTable], path: Path
) -> None:
    other = bundled[0].model_copy(update={"artifact_hash": "0" * 32})
    with pytest.raises(ValueError, match=r"'alpha': the table .* belongs to another"):
        DeviceClasses(manifest, [other], EmbeddedStore(path))


def test_selection_uses_the_class_default_budget(classes: DeviceClasses) -> None:
    fast = select(classes.candidates("alpha"), Constraints("alpha"))
    slow = select(classes.candidates("beta"), Constraints("beta"))
    assert fast.accuracy > slow.accuracy


def test_unknown_subnets_are_named(manifest: Manifest) -> None:
    check_subnets(manifest.catalog.subnets(), manifest.catalog)
    names = [f"d2-2@{resolution}" for resolution in (1, 2, 3, 4, 5)]
    with pytest.raises(ValueError, match=r"d2-2@1, d2-2@2, d2-2@3 \(and 2 more\)"):
        check_subnets(names, manifest.catalog)
