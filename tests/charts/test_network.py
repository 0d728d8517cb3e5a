"""How clients find the pods, and who may reach whom."""

from __future__ import annotations

import pytest

from tests.charts.rendering import (
    CLAIM,
    Object,
    container,
    find,
    kinds,
    pod_templates,
    render,
    scenario,
)

ALL_ON: Object = {
    "valkey": {"enabled": True},
    "training": {"enabled": True, "dataClaim": "images"},
    "service": {"type": "LoadBalancer"},
}


def selected(selector: Object, rendered: list[Object]) -> set[str]:
    """The components whose pods a selector takes."""
    labels = [template["metadata"]["labels"] for template in pod_templates(rendered)]
    return {
        each["app.kubernetes.io/component"] for each in labels if selector.items() <= each.items()
    }


def test_the_headless_service_resolves_to_the_pods_and_the_other_is_one_address() -> None:
    rendered = render(CLAIM)
    assert find(rendered, "Service", "-headless")["spec"]["clusterIP"] == "None"
    assert "clusterIP" not in find(rendered, "Service")["spec"]
    listening = {p["name"]: p["containerPort"] for p in container(rendered)["ports"]}
    for suffix in ("", "-headless"):
        ports = find(rendered, "Service", suffix)["spec"]["ports"]
        assert {p["targetPort"]: p["port"] for p in ports}.items() <= listening.items()


def test_each_service_and_policy_takes_the_pods_that_it_is_for_and_no_others() -> None:
    rendered = render(CLAIM | ALL_ON)
    everything = {"gateway", "store", "training"}
    assert selected({}, rendered) == everything
    seen = set()
    for document in rendered:
        spec = document.get("spec", {})
        component = document["metadata"]["labels"]["app.kubernetes.io/component"]
        if document["kind"] == "Service":
            assert selected(spec["selector"], rendered) == {component}
        elif document["kind"] == "NetworkPolicy":
            assert selected(spec["podSelector"]["matchLabels"], rendered) == {component}
            seen.add(component)
    assert seen == everything, "no pod is without a policy"


@pytest.mark.parametrize("kind", ["NodePort", "LoadBalancer"])
def test_metrics_stay_in_the_cluster(kind: str) -> None:
    rendered = render(CLAIM | {"service": {"type": kind}})
    outside = find(rendered, "Service")["spec"]
    assert outside["type"] == kind
    assert [port["name"] for port in outside["ports"]] == ["grpc"]
    inside = find(rendered, "Service", "-metrics")["spec"]
    assert inside.get("type", "ClusterIP") == "ClusterIP"
    assert [port["name"] for port in inside["ports"]] == ["metrics"]


def test_only_this_namespace_may_call_unless_told_otherwise() -> None:
    calls, metrics = find(render(CLAIM), "NetworkPolicy")["spec"]["ingress"]
    assert calls["from"] == [{"podSelector": {}}]
    assert [port["port"] for port in calls["ports"]] == ["grpc"]
    assert "from" not in metrics


def test_clients_and_scrapers_can_be_named() -> None:
    calls, metrics = find(render(scenario("production")), "NetworkPolicy")["spec"]["ingress"]
    name = "kubernetes.io/metadata.name"
    assert {"namespaceSelector": {"matchLabels": {name: "phones"}}} in calls["from"]
    assert metrics["from"] == [{"namespaceSelector": {"matchLabels": {name: "monitoring"}}}]


@pytest.mark.parametrize(
    ("name", "ports"),
    [
        ("minimal", {53}),
        ("production", {53, 6380}),
        ("trial", {53, 6379}),
        ("artifact-init", {53, 443}),
        ("tracing", {53, 4317}),
    ],
)
def test_a_gateway_is_let_out_to_names_its_store_and_its_traces(name: str, ports: set[int]) -> None:
    spec = find(render(scenario(name)), "NetworkPolicy")["spec"]
    assert "Egress" in spec["policyTypes"]
    assert {port["port"] for rule in spec["egress"] for port in rule["ports"]} == ports


def test_only_the_gateway_reaches_the_store_for_trials_and_that_reaches_nobody() -> None:
    rendered = render(CLAIM | ALL_ON)
    spec = find(rendered, "NetworkPolicy", "-valkey")["spec"]
    (peer,) = spec["ingress"][0]["from"]
    assert selected(peer["podSelector"]["matchLabels"], rendered) == {"gateway"}
    assert spec["egress"] == []
    assert "Egress" in spec["policyTypes"]


def test_a_mesh_s_own_policies_can_take_the_place_of_ours() -> None:
    assert "NetworkPolicy" not in kinds(render(CLAIM | {"networkPolicy": {"enabled": False}}))
