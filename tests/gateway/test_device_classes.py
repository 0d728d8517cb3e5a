from __future__ import annotations

from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest

from gateway.device_classes import DeviceClasses
from gateway.errors import UnknownDeviceClass
from gateway.request import Constraints
from gateway.select import select
from gateway.stores.tables import StoredTable
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


@pytest.fixture(scope="session")
def manifest_and_bundled(artifact_folder: Path) -> tuple[Manifest, list[LatencyTable]]:
    return read_manifest(artifact_folder), read_bundled_tables(artifact_folder)


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
    assert classes.candidates("gamma") is classes.candidates("beta")
    assert classes.candidates("alpha") is not classes.candidates("beta")
    assert classes.resolve("gamma") is None


def test_a_fallback_may_come_later_or_be_an_alias(
    manifest: Manifest, bundled: list[LatencyTable]
) -> None:
    classes = DeviceClasses(manifest, bundled, fallback="gamma")
    with pytest.raises(UnknownDeviceClass, match="'phone' is not known; there are alpha, beta"):
        classes.candidates("phone")
    classes.replace({}, {"gamma": "beta"})
    assert classes.candidates("phone") is classes.candidates("beta")
    classes.replace(kept(bundled[0].scaled(2, "gamma", default_budget_ms=1.0)))
    assert classes.candidates("phone") is classes.candidates("gamma")
    assert classes.table("gamma").version == 1


@pytest.mark.parametrize("how", ["replace", "replace_warm"])
def test_an_alias_is_served_as_the_class_it_means(
    classes: DeviceClasses, bundled: list[LatencyTable], how: str
) -> None:
    replace, aliases = getattr(classes, how), {"a": "alpha", "first": "alpha", "lost": "gamma"}
    replace({}, aliases)
    assert classes.aliases == aliases
    assert classes.names == ("alpha", "beta")
    assert classes.candidates("a") is classes.candidates("alpha")
    assert classes.table("first").table.device_class == "alpha"
    assert [(i.name, i.aliases) for i in classes.infos()] == [
        ("alpha", ("a", "first")),
        ("beta", ()),
    ]
    with pytest.raises(UnknownDeviceClass, match="'lost' is not known"):
        classes.candidates("lost")
    replace(kept(bundled[0].scaled(2, "a", default_budget_ms=1.0)), aliases)
    assert classes.table("a").table.device_class == "a", "a class's own table comes first"
    assert {i.name: i.aliases for i in classes.infos()} == {
        "a": (), "alpha": ("first",), "beta": ()
    }  # fmt: skip


@hypothesis.given(
    aliases=st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["alpha", *"abcde"]))
)
def test_no_aliases_lead_in_a_circle(
    manifest_and_bundled: tuple[Manifest, list[LatencyTable]], aliases: dict[str, str]
) -> None:
    """Not even those of a damaged store."""
    classes = DeviceClasses(*manifest_and_bundled)
    classes.replace({}, aliases)
    for name in "abcde":
        expected = "alpha" if aliases.get(name) == "alpha" else None
        assert classes.resolve(name) == expected


def test_a_class_tells_how_many_subnets_are_worth_choosing(
    classes: DeviceClasses, bundled: list[LatencyTable]
) -> None:
    alpha = classes.infos()[0]
    assert alpha.frontier == len(classes.candidates("alpha").tier().frontier) > 1
    flat = dict.fromkeys(bundled[0].latency_ms, 1.0)
    one = classes.info(StoredTable(1, bundled[0].model_copy(update={"latency_ms": flat})))
    assert one.frontier == 1


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
