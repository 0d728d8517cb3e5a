"""What decides how many pods there are, where they are, and when one may go."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from gateway.metrics import CallMetrics
from tests.charts.rendering import CLAIM, ROOT, Object, find, kinds, pod, render, scenario

PROMTOOL = shutil.which("promtool")
SERIES = '{namespace="nets",service="demo-compofa-gateway",pod="%s",device_class="phone"}'


def triggers(values: Object | None = None) -> dict[str, Object]:
    """Those of a ScaledObject, by name; of the scenario unless told otherwise."""
    scaled = find(render(values or scenario("keda")), "ScaledObject")
    return {trigger["name"]: trigger for trigger in scaled["spec"]["triggers"]}


def test_nothing_scales_unless_asked_to() -> None:
    rendered = render(CLAIM | {"replicaCount": 3})
    assert not kinds(rendered) & {"HorizontalPodAutoscaler", "ScaledObject"}
    assert find(rendered, "Deployment")["spec"]["replicas"] == 3


@pytest.mark.parametrize("name", ["hpa", "keda"])
def test_who_scales_is_not_overruled_by_an_upgrade(name: str) -> None:
    rendered = render(scenario(name))
    assert "replicas" not in find(rendered, "Deployment")["spec"]
    kind = {"hpa": "HorizontalPodAutoscaler", "keda": "ScaledObject"}[name]
    target = find(rendered, kind)["spec"]["scaleTargetRef"]
    deployment = find(rendered, "Deployment")
    assert target == {
        "apiVersion": deployment["apiVersion"],
        "kind": "Deployment",
        "name": deployment["metadata"]["name"],
    }


def test_an_hpa_goes_by_cpu_of_the_gateway_and_by_what_an_adapter_serves() -> None:
    spec = find(render(scenario("hpa")), "HorizontalPodAutoscaler")["spec"]
    cpu, *pods = spec["metrics"]
    assert cpu["containerResource"]["container"] == "gateway"
    assert cpu["containerResource"]["target"]["averageUtilization"] == 60
    assert {m["pods"]["metric"]["name"]: m["pods"]["target"]["averageValue"] for m in pods} == {
        "compofa_queue_depth": "4",
        "compofa_accuracy_given_up_per_mille": "2",
    }
    assert spec["behavior"]["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 300


def counted() -> set[str]:
    """What a gateway counts of calls."""
    registry = CollectorRegistry()
    CallMetrics(registry, str)
    return {metric.name for metric in registry.collect()}


@pytest.mark.skipif(
    "compofa_accuracy_given_up" not in counted(),
    reason="the gateway has no metric compofa_accuracy_given_up yet",
)
def test_keda_asks_for_metrics_that_a_gateway_has() -> None:
    for trigger in triggers().values():
        query = trigger["metadata"]["query"]
        asked = {word.split("{")[0] for word in query.split("(") if word.startswith("compofa_")}
        names = {name.removesuffix("_sum").removesuffix("_count") for name in asked}
        assert names
        assert names <= counted() | {"compofa_queue_depth"}


@pytest.mark.parametrize("accuracy", [0.0001, 0.0009, 0.002, 0.0029, 1])
def test_little_accuracy_given_up_is_not_lost_where_three_decimals_are_kept(
    accuracy: float,
) -> None:
    """KEDA and HorizontalPodAutoscalers compare thousandths, as whole numbers."""
    keda: Object = {"prometheusUrl": "http://prometheus:9090", "accuracyGivenUp": accuracy}
    trigger = triggers(CLAIM | {"autoscaling": {"kind": "keda", "keda": keda}})["accuracy-given-up"]
    assert trigger["metadata"]["query"].startswith("1000 * (")
    hpa: Object = {"kind": "hpa", "hpa": {"accuracyGivenUp": accuracy}}
    rendered = render(CLAIM | {"autoscaling": hpa})
    *_, pods = find(rendered, "HorizontalPodAutoscaler")["spec"]["metrics"]
    for said in (trigger["metadata"]["threshold"], pods["pods"]["target"]["averageValue"]):
        assert int(float(said) * 1000) == pytest.approx(accuracy * 1e6, rel=1e-3)


def test_series_can_be_found_by_other_labels() -> None:
    keda: Object = {"prometheusUrl": "http://prometheus:9090", "selector": 'job="pods"'}
    for trigger in triggers(CLAIM | {"autoscaling": {"kind": "keda", "keda": keda}}).values():
        assert set(re.findall(r"{.*?}", trigger["metadata"]["query"])) == {'{job="pods"}'}


def test_the_adapter_in_the_document_serves_what_an_hpa_asks_for() -> None:
    spec = find(render(scenario("hpa")), "HorizontalPodAutoscaler")["spec"]
    asked = {m["pods"]["metric"]["name"] for m in spec["metrics"] if m["type"] == "Pods"}
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    (adapter,) = re.findall(r"```yaml\n(rules:.*?)```", text, re.DOTALL)
    served = yaml.safe_load(adapter)["rules"]["custom"]
    assert {each.get("name", {}).get("as", each["seriesQuery"]) for each in served} == asked
    (scaled,) = (each for each in served if "name" in each)
    assert scaled["metricsQuery"].startswith("1000 * ")


def test_the_queue_is_shared_by_the_pods_and_the_accuracy_is_not() -> None:
    assert triggers()["queue-depth"]["metricType"] == "AverageValue"
    assert triggers()["accuracy-given-up"]["metricType"] == "Value"


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
@pytest.mark.parametrize(
    ("series", "trigger", "value"),
    [
        ({"compofa_queue_depth": ("3x9", "5x9")}, "queue-depth", 8),
        (
            {
                "compofa_accuracy_given_up_sum": ("0+0.9375x9", "0+0x9"),
                "compofa_accuracy_given_up_count": ("0+90x9", "0+150x9"),
            },
            "accuracy-given-up",
            1000 * 0.9375 / 240,
        ),
        (
            {
                "compofa_accuracy_given_up_sum": ("1x9", "1x9"),
                "compofa_accuracy_given_up_count": ("9x9", "9x9"),
            },
            "accuracy-given-up",
            0,
        ),
        ({}, "accuracy-given-up", 0),
        ({}, "queue-depth", None),
    ],
    ids=["queue", "given up", "no answers lately", "no gateway yet", "no word of the queue"],
)
def test_prometheus_makes_of_a_query_what_was_meant(
    series: dict[str, tuple[str, str]], trigger: str, value: float | None, tmp_path: Path
) -> None:
    """`promtool` runs Prometheus's own engine on made-up series of two pods and of a stranger."""
    stranger = '{namespace="nets",service="another",pod="c",device_class="phone"}'
    given = [
        {"series": name + labels, "values": values}
        for name, by_pod in series.items()
        for labels, values in [
            (SERIES % "a", by_pod[0]), (SERIES % "b", by_pod[1]), (stranger, "0+9999x9")
        ]
    ]  # fmt: skip
    expected = [] if value is None else [{"labels": "{}", "value": value}]
    expr = triggers()[trigger]["metadata"]["query"]
    asked = {"expr": expr, "eval_time": "9m", "exp_samples": expected}
    test = {"interval": "1m", "input_series": given, "promql_expr_test": [asked]}
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": [test]}))
    assert PROMTOOL is not None
    command = [PROMTOOL, "test", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_node_that_is_emptied_takes_one_pod_at_a_time() -> None:
    rendered = render(scenario("production"))
    budget = find(rendered, "PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    labels = find(rendered, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()


def test_a_budget_for_one_pod_does_not_keep_a_node_from_being_emptied() -> None:
    budget = find(render(CLAIM), "PodDisruptionBudget")["spec"]
    assert "minAvailable" not in budget
    assert budget["maxUnavailable"] >= 1


def test_replicas_are_kept_apart() -> None:
    constraints = pod(render(scenario("production")))["topologySpreadConstraints"]
    assert {c["topologyKey"]: c["whenUnsatisfiable"] for c in constraints} == {
        "topology.kubernetes.io/zone": "DoNotSchedule",
        "kubernetes.io/hostname": "ScheduleAnyway",
    }
    off = CLAIM | {"topologySpread": {"zone": "", "host": ""}}
    assert "topologySpreadConstraints" not in pod(render(off))
