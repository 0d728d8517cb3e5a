"""Rules as they are rendered for one release, beside another that is scraped too: by `promtool`."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts.monitoring.prometheus_server import MISSING
from tests.charts.rendering import CLAIM, find, render

SERIES = 'compofa_build_info{namespace="nets", service="%s", job="%s", pod="a", artifact_hash="1"}'
needs_promtool = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


def run(folder: Path, own: str, other: str, expected: dict[str, list[dict[str, Any]]]) -> None:
    """Tests the rules of the release `demo`: `own` are the values of its gateway's series, `other`
    those of another release's; `expected` are the alerts by time."""
    rule = find(render(CLAIM | {"prometheusRule": {"enabled": True}}), "PrometheusRule")
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": rule["spec"]["groups"]}))
    series = [
        {"series": SERIES % (name, name), "values": values}
        for name, values in (("demo-compofa-gateway", own), ("other-compofa-gateway", other))
    ]
    alerts = [
        {"eval_time": at, "alertname": "CompofaNoGateway", "exp_alerts": fired}
        for at, fired in expected.items()
    ]
    test = {"interval": "1m", "input_series": series, "alert_rule_test": alerts}
    told = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]}
    (folder / "test.yaml").write_text(yaml.safe_dump(told))
    command = ["promtool", "test", "rules", str(folder / "test.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


FIRED = {
    "exp_labels": {
        "severity": "critical", "namespace": "nets", "service": "demo-compofa-gateway"
    },
    "exp_annotations": {
        "summary": "No gateway of demo-compofa-gateway can be read",
        "description": "Prometheus reads none of them. Either none runs or none is scraped.",
        "runbook_url": "docs/runbook.md#compofanogateway",
    },
}  # fmt: skip


@needs_promtool
def test_a_release_that_is_down_is_told_for_as_long_as_it_is(tmp_path: Path) -> None:
    expected = {"9m": [], "12m": [], "20m": [FIRED], "3h": [FIRED], "9h": [FIRED], "10h30m": []}
    run(tmp_path, own="1x9 stale _x589 1x60", other="1x660", expected=expected)


@needs_promtool
def test_a_release_that_runs_does_not_tell_of_another(tmp_path: Path) -> None:
    run(tmp_path, own="1x200", other="1x9 stale", expected={"20m": [], "3h": []})


@needs_promtool
def test_a_release_that_was_never_read_is_told_of_too(tmp_path: Path) -> None:
    run(tmp_path, own="_x200", other="1x200", expected={"4m": [], "3h": [FIRED]})
