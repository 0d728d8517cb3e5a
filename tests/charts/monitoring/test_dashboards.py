"""The dashboards as the chart ships them: current, whole, and legible."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from charts.monitoring.generate import CHART, generated, stale, write

Object = dict[str, Any]
DASHBOARDS = sorted((CHART / "dashboards").glob("*.json"))
CONFIG_MAP_BYTES = 1024 * 1024
VARIABLES = ["datasource", "namespace", "job", "device_class"]


def panels(document: Object) -> list[Object]:
    return [panel for panel in document["panels"] if panel["type"] != "row"]


@pytest.fixture(params=DASHBOARDS, ids=lambda path: path.stem)
def document(request: pytest.FixtureRequest) -> Object:
    parsed: Object = json.loads(request.param.read_text("utf-8"))
    return parsed


def test_what_is_generated_is_current() -> None:
    files = generated()
    assert stale(files) == []
    assert {path for path in files if path.suffix == ".json"} == set(DASHBOARDS)


def test_what_is_stale_is_named_and_written(tmp_path: Path) -> None:
    files = {tmp_path / "new" / name: name for name in ("a.json", "b.json")}
    assert list(stale(files)) == list(files)
    write(files)
    assert stale(files) == []
    changed = next(iter(files))
    changed.write_text("by hand")
    assert stale(files) == [changed]


def test_it_can_be_imported_anywhere(document: Object) -> None:
    assert "id" not in document, "that is Grafana's to give"
    assert document["uid"].startswith("compofa-")
    assert len(json.dumps(document)) < CONFIG_MAP_BYTES / 2
    assert [variable["name"] for variable in document["templating"]["list"]] == VARIABLES
    for panel in panels(document):
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"]


def test_each_panel_says_what_it_shows(document: Object) -> None:
    shown = panels(document)
    assert len({panel["title"] for panel in shown}) == len(shown)
    for panel in shown:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"], panel["title"]


def test_panels_stand_in_rows_and_none_covers_another(document: Object) -> None:
    assert document["panels"][0]["type"] == "row"
    assert len({panel["id"] for panel in document["panels"]}) == len(document["panels"])
    for one, other in itertools.combinations([p["gridPos"] for p in document["panels"]], 2):
        apart = (
            one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        )  # fmt: skip
        assert apart
        assert one["x"] + one["w"] <= 24


def test_what_is_chosen_narrows_every_panel(document: Object) -> None:
    for panel in panels(document):
        for target in panel["targets"]:
            assert 'namespace=~"$namespace"' in target["expr"], panel["title"]
            assert 'job=~"$job"' in target["expr"], panel["title"]


def test_no_two_dashboards_are_taken_for_each_other() -> None:
    uids = [json.loads(path.read_text("utf-8"))["uid"] for path in DASHBOARDS]
    assert len(set(uids)) == len(DASHBOARDS) == 4
