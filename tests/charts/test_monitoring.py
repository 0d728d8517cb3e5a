"""What Prometheus's operator and Grafana's sidecar are handed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.charts import helm
from tests.charts.rendering import CHART, CLAIM, Object, find, kinds, render
from tests.charts.validation import problems

ON: Object = CLAIM | {
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True},
    "dashboards": {"enabled": True},
}
KEDA: Object = {
    "autoscaling": {"kind": "keda", "keda": {"prometheusUrl": "http://prometheus:9090"}}
}
RULES = """
groups:
  - name: %s
    rules:
      - alert: Slow
        expr: job:slow:ratio{job="a"} > 0.1
        for: 5m
        annotations:
          summary: '{{ $labels.device_class }} at {{ $value | humanize }}'
"""
DASHBOARD = {"title": "Serving", "panels": [{"legendFormat": "{{device_class}}"}]}


@pytest.fixture
def with_files(tmp_path: Path) -> Path:
    """The chart with two files of rules and two dashboards, whatever it ships with."""
    copy = tmp_path / CHART.name
    shutil.copytree(CHART, copy, ignore=shutil.ignore_patterns("rules", "dashboards"))
    for folder in ("rules", "dashboards"):
        (copy / folder).mkdir()
    for name in ("one", "two"):
        (copy / "rules" / f"{name}.yaml").write_text(RULES % name)
        (copy / "dashboards" / f"{name}.json").write_text(json.dumps(DASHBOARD, indent=2))
    return copy


def alerts(rendered: list[Object]) -> dict[str, Object]:
    """Those of the rendered rule, by name."""
    groups = find(rendered, "PrometheusRule")["spec"]["groups"]
    return {each["alert"]: each for group in groups for each in group["rules"] if "alert" in each}


@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort", "LoadBalancer"])
def test_each_pod_is_scraped_once_by_the_service_that_is_asked_for(kind: str) -> None:
    rendered = render(ON | KEDA | {"service": {"type": kind}})
    spec = find(rendered, "ServiceMonitor")["spec"]
    (endpoint,) = spec["endpoints"]
    labels = spec["selector"]["matchLabels"]
    (scraped,) = (
        service["metadata"]["name"]
        for service in rendered
        if service["kind"] == "Service"
        and labels.items() <= service["metadata"]["labels"].items()
        and endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    )
    assert spec["namespaceSelector"] == {"matchNames": ["nets"]}
    assert endpoint["path"] == "/metrics"
    ours = f'{{namespace="nets",service="{scraped}"}}'
    for trigger in find(rendered, "ScaledObject")["spec"]["triggers"]:
        assert set(re.findall(r"{.*?}", trigger["metadata"]["query"])) == {ours}
    assert alerts(rendered)["CompofaNoGateway"]["expr"] == f"absent(compofa_build_info{ours})"


def test_pods_that_are_scraped_another_way_are_watched_by_other_labels() -> None:
    rule = {"enabled": True, "selector": 'job="pods"'}
    found = alerts(render(ON | {"prometheusRule": rule}))
    assert found["CompofaNoGateway"]["expr"] == 'absent(compofa_build_info{job="pods"})'


def test_no_gateway_is_missed_where_none_is_wanted() -> None:
    missed = alerts(render(ON)).keys() - alerts(render(ON | {"replicaCount": 0})).keys()
    assert missed == {"CompofaNoGateway"}
    assert "CompofaNoGateway" in alerts(render(ON | KEDA | {"replicaCount": 0}))


def test_a_monitor_has_the_labels_by_which_prometheus_finds_it() -> None:
    labels = find(render(ON), "ServiceMonitor")["metadata"]["labels"]
    assert labels["release"] == "prometheus"
    assert labels["app.kubernetes.io/component"] == "gateway"


def test_rules_arrive_as_they_are_written(with_files: Path) -> None:
    rendered = render(ON, chart=with_files)
    rule = find(rendered, "PrometheusRule")
    groups = [yaml.safe_load(RULES % name)["groups"][0] for name in ("one", "two")]
    assert rule["spec"]["groups"] == groups
    assert problems(rule, "1.34") == []


def test_each_alert_links_its_section_where_the_runbook_is_read() -> None:
    url = "https://wiki.example/compofa/runbook.html"
    rule = find(
        render(ON | {"prometheusRule": {"enabled": True, "runbookUrl": url}}), "PrometheusRule"
    )
    assert problems(rule, "1.34") == []
    found = alerts([rule])
    assert len(found) > 20
    for name, alert in found.items():
        assert alert["annotations"]["runbook_url"] == f"{url}#{name.lower()}"


@pytest.mark.parametrize("url", ["", "two words", "docs/runbook.md#there"])
def test_a_runbook_that_no_section_can_be_linked_in_is_refused(url: str) -> None:
    with pytest.raises(helm.HelmError, match="runbookUrl"):
        render(ON | {"prometheusRule": {"enabled": True, "runbookUrl": url}})


def test_a_file_without_rules_is_refused(with_files: Path) -> None:
    (with_files / "rules" / "two.yaml").write_text("group: []\n")
    with pytest.raises(helm.HelmError, match=r"rules/two\.yaml: expected a file of"):
        render(ON, chart=with_files)


def test_dashboards_arrive_as_they_are_written(with_files: Path) -> None:
    rendered = render(ON, chart=with_files)
    for name in ("one", "two"):
        config = find(rendered, "ConfigMap", f"-{name}")
        assert json.loads(config["data"][f"{name}.json"]) == DASHBOARD
        assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert problems(config, "1.34") == []


def test_every_file_that_ships_arrives() -> None:
    rendered = render(ON)
    dashboards = {path.name for path in CHART.glob("dashboards/*.json")}
    assert {name for d in rendered if d["kind"] == "ConfigMap" for name in d["data"]} == dashboards
    names = [
        group["name"]
        for path in sorted(CHART.glob("rules/*.yaml"))
        for group in yaml.safe_load(path.read_text())["groups"]
    ]
    if names:
        groups = find(rendered, "PrometheusRule")["spec"]["groups"]
        assert [group["name"] for group in groups] == names
        assert len(set(names)) == len(names), "Prometheus takes a group's name once a file"
    for document in rendered:
        assert len(json.dumps(document)) < 900_000, "what etcd takes is bounded"


def test_nothing_of_it_unless_asked_for() -> None:
    assert not kinds(render(CLAIM)) & {"ServiceMonitor", "PrometheusRule", "ConfigMap"}
