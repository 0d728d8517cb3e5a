"""Recording rules and alerts: read by Prometheus' own tool, tested by it, and explained."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts.monitoring import recording
from charts.monitoring.generate import CHART
from tests.charts.monitoring.prometheus_server import MISSING

ROOT = CHART.parents[1]
RULES = sorted((CHART / "rules").glob("*.yaml"))
TESTS = sorted((Path(__file__).parent / "rules").glob("*.yaml"))
PARTS = ("**What it means.**", "**What to look at.**", "**What to do.**")
SEVERITIES = {"critical", "warning", "info"}

Object = dict[str, Any]
needs_promtool = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


def read(path: Path) -> Object:
    parsed: Object = yaml.safe_load(path.read_text("utf-8"))
    return parsed


def rules() -> list[Object]:
    return [rule for path in RULES for group in read(path)["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}


def sections() -> dict[str, str]:
    """The runbook's text by anchor, as GitHub makes them."""
    text = (ROOT / "docs" / "runbook.md").read_text("utf-8")
    _, *parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    headings = (re.sub(r"[^\w -]", "", title).replace(" ", "-").lower() for title in parts[::2])
    return dict(zip(headings, parts[1::2], strict=True))


@needs_promtool
@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_prometheus_reads_the_rules(path: Path) -> None:
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_and_are_silent_where_they_should(path: Path) -> None:
    done = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_tested_firing_and_silent() -> None:
    tried: dict[str, set[bool]] = defaultdict(set)
    for path in TESTS:
        for case in read(path)["tests"]:
            for test in case["alert_rule_test"]:
                tried[test["alertname"]].add(bool(test.get("exp_alerts")))
    assert tried == {name: {True, False} for name in ALERTS}


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_is_explained_in_the_runbook(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in SEVERITIES
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["description"]
    file, anchor = alert["annotations"]["runbook_url"].split("#")
    assert (file, anchor) == ("docs/runbook.md", name.lower())
    places = [sections()[anchor].index(part) for part in PARTS]
    assert places == sorted(places)


def test_the_runbook_has_no_section_of_an_alert_that_is_gone() -> None:
    named = {anchor for anchor in sections() if anchor.startswith("compofa")}
    assert named == {name.lower() for name in ALERTS}


def test_the_runbook_s_links_lead_somewhere() -> None:
    text = (ROOT / "docs" / "runbook.md").read_text("utf-8")
    for target in re.findall(r"\]\((\S+?)\)", text):
        file, _, anchor = target.partition("#")
        assert (ROOT / "docs" / file).exists(), target
        assert file or anchor in sections(), target


def test_alerts_ask_for_burn_rates_that_are_recorded() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    asked = {
        name
        for alert in ALERTS.values()
        for name in re.findall(r"\b(?:device_class|compofa):[\w:]+", alert["expr"])
    }
    assert asked <= recorded
    assert recording.burn("availability", "5m") in asked


def test_rules_ask_for_metrics_that_a_gateway_has() -> None:
    """By their names in its source: what is never counted never fires."""
    source = "".join(path.read_text("utf-8") for path in (ROOT / "gateway").rglob("*.py"))
    of_kind = r"_(total|bucket|sum|count)$"
    for rule in rules():
        for name in re.findall(r"(?<![:\w])compofa_\w+(?![:\w])", rule["expr"]):
            assert f'"{re.sub(of_kind, "", name)}"' in source, name


def test_no_rule_has_the_name_of_another() -> None:
    names = [rule.get("record") or rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
