"""The chart as a whole: lint, scenarios against schemas, what is refused, the notes."""

from __future__ import annotations

import json
import tomllib

import jsonschema
import pytest
import yaml

from tests.charts import helm, rendering
from tests.charts.rendering import CHART, CLAIM, KUBERNETES, ROOT, Object, kinds, notes, render
from tests.charts.validation import is_custom, problems

# All versions are `make verify-chart`'s; between the two nothing that is used has come and gone.
OLDEST, NEWEST = KUBERNETES[0], KUBERNETES[-1]


@pytest.mark.parametrize("name", rendering.scenario_files())
def test_lint_finds_only_that_there_is_no_icon(name: str) -> None:
    report = helm.lint(CHART, rendering.scenario(name))
    assert [message["error"] for message in report["messages"]] == ["icon is recommended"]
    assert report["errors"] == []


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("name", rendering.scenario_files())
def test_a_scenario_is_what_kubernetes_takes(name: str, version: str) -> None:
    if not rendering.fits(name, version):
        with pytest.raises(helm.HelmError, match=r"expected Kubernetes 1\.31"):
            render(rendering.scenario(name), version)
        return
    rendered = render(rendering.scenario(name), version)
    assert [p for document in rendered for p in problems(document, version)] == []
    names = [(d["apiVersion"], d["kind"], d["metadata"]["name"]) for d in rendered]
    assert len(set(names)) == len(names)
    assert {d["metadata"]["namespace"] for d in rendered} == {"nets"}


def test_the_scenarios_render_every_kind_there_is_a_template_for() -> None:
    rendered = [d for name in rendering.scenario_files() for d in render(rendering.scenario(name))]
    in_templates = {
        line.removeprefix("kind: ").strip()
        for file in (CHART / "templates").rglob("*.yaml")
        for line in file.read_text().splitlines()
        if line.startswith("kind: ")
    }
    assert kinds(rendered) == in_templates - _without_files()
    schemas = {"JobSet", "PrometheusRule", "PyTorchJob", "ScaledObject", "ServiceMonitor"}
    assert {d["kind"] for d in rendered if is_custom(d)} == schemas - _without_files()


def _without_files() -> set[str]:
    """What needs files that may come with another change."""
    return set() if list(CHART.glob("rules/*.yaml")) else {"PrometheusRule"}


def test_a_mistake_in_a_pod_of_a_custom_resource_is_found() -> None:
    """The schemas can say no."""
    (job,) = (d for d in render(rendering.scenario("training-jobset")) if d["kind"] == "JobSet")
    assert problems(job, NEWEST) == []
    broken = json.loads(json.dumps(job).replace('"claimName"', '"claim"'))
    assert "claim" in "".join(problems(broken, NEWEST))
    broken = json.loads(json.dumps(job).replace('"maxRestarts"', '"maxRestart"'))
    assert "maxRestart" in "".join(problems(broken, NEWEST))


def test_the_least_that_can_be_said_renders_nothing_optional() -> None:
    assert kinds(render(CLAIM)) == {
        "Deployment", "Service", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy"
    }  # fmt: skip


def test_the_image_is_of_the_package_s_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == version


def test_the_schema_names_every_value_and_no_other() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema["properties"].pop("global")  # Helm's own
    assert sorted(_leaves(schema)) == sorted(_leaves_of_values(values, schema))


def _leaves(schema: Object, path: str = "") -> list[str]:
    """Every value that the schema describes field by field."""
    if "properties" not in schema:
        return [path]
    return [
        leaf
        for name, inner in schema["properties"].items()
        for leaf in _leaves(inner, f"{path}.{name}")
    ]


def _leaves_of_values(values: object, schema: Object, path: str = "") -> list[str]:
    """Every value there is, as deep as the schema goes."""
    if "properties" not in schema or not isinstance(values, dict):
        return [path]
    return [
        leaf
        for name, inner in values.items()
        for leaf in _leaves_of_values(inner, schema["properties"].get(name, {}), f"{path}.{name}")
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"replicas": 2}, "additional properties 'replicas' not allowed"),
        ({"gateway": {"graceS": -1}}, "at '/gateway/graceS': minimum: got -1, want 0"),
        ({"gateway": {"graceS": None}}, "at '/gateway': missing property 'graceS'"),
        ({"gateway": {"workers": 0}}, "at '/gateway/workers': minimum: got 0, want 1"),
        ({"gateway": {"engine": "tensorrt"}}, "at '/gateway/engine'"),
        ({"ports": {"grpc": 80}}, "at '/ports/grpc': minimum: got 80, want 1,024"),
        ({"artifact": {"existingClaim": "My Nets"}}, "at '/artifact/existingClaim': 'My Nets'"),
        ({"artifact": None}, "missing property 'artifact'"),
        ({"store": {"existingSecret": "My Redis"}}, "at '/store/existingSecret': 'My Redis'"),
        ({"image": {"repository": "a", "digest": "sha256:1"}}, "at '/image/digest'"),
        ({"autoscaling": {"kind": "vpa"}}, "at '/autoscaling/kind'"),
        ({"autoscaling": {"keda": {"accuracyGivenUp": 2}}}, "at '/autoscaling/keda/accuracyG"),
        ({"topologySpread": {"zone": "Never"}}, "at '/topologySpread/zone'"),
        ({"valkey": {"password": "a b'c:d@e/f"}}, "at '/valkey/password'"),
        ({"training": {"kind": "MPIJob"}}, "at '/training/kind'"),
        ({"probes": {"liveness": {"httpGet": {}}}}, "at '/probes/liveness'"),
        ({"gateway": {"logLevel": "loud"}}, "at '/gateway/logLevel'"),
        ({"tracing": {"endpoint": "collector:4317"}}, "at '/tracing/endpoint'"),
        ({"tracing": {"endpoint": "http://u:p@collector:4317"}}, "at '/tracing/endpoint'"),
        ({"tracing": {"sample": 2}}, "at '/tracing/sample'"),
        ({"serviceMonitor": {"interval": "often"}}, "at '/serviceMonitor/interval'"),
    ],
)
def test_the_schema_refuses(values: Object, message: str) -> None:
    with pytest.raises(helm.HelmError) as refused:
        render(CLAIM | values)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image": {}}, "image.repository: expected an image in which"),
        ({"artifact": {}}, "artifact: expected existingClaim, image.reference, init.image, or"),
        ({"artifact": {"path": "mine"}}, 'artifact.path "mine": expected an absolute path'),
        (
            {"artifact": {"existingClaim": "nets", "path": "a/../../etc"}},
            'artifact.path "a/../../etc": expected a folder in what is mounted',
        ),
        (
            {"artifact": {"existingClaim": "nets", "path": "/mine"}},
            'artifact.path "/mine": expected a folder in what is mounted',
        ),
        (
            {"artifact": {"existingClaim": "nets", "init": {"image": "a:1"}}},
            "artifact: expected one of existingClaim, image.reference and init.image, not nets and",
        ),
        ({"ports": {"metrics": 50051}}, "ports 50051, 50051, 50052: expected three different"),
        (
            {"valkey": {"enabled": True}, "store": {"existingSecret": "tables"}},
            'store.existingSecret "tables": expected none with valkey.enabled',
        ),
        ({"tls": {"clientCaKey": "ca.crt"}}, 'tls.clientCaKey "ca.crt": expected a Secret'),
        ({"auth": {"existingSecret": "tokens"}}, 'auth.existingSecret "tokens": expected tls.exi'),
        ({"tracing": {"sample": 0}}, "tracing.endpoint: expected a receiver of traces"),
        (
            {"gateway": {"maxConnectionAgeGraceS": 5}},
            "gateway.maxConnectionAgeGraceS 5: expected maxConnectionAgeS too",
        ),
        ({"rollout": {"maxSurge": 0}}, "rollout.maxUnavailable 0: expected maxSurge above 0"),
        (
            {"autoscaling": {"kind": "hpa", "minReplicas": 5, "maxReplicas": 4}},
            "autoscaling.minReplicas 5: expected at most maxReplicas, 4",
        ),
        (
            {"autoscaling": {"kind": "hpa"}, "resources": {"requests": {"cpu": None}}},
            "autoscaling.hpa.cpuUtilization: expected resources.requests.cpu",
        ),
        (
            {"autoscaling": {"kind": "hpa", "hpa": {"cpuUtilization": None}}},
            "autoscaling.hpa: expected a target to scale by",
        ),
        ({"autoscaling": {"kind": "keda"}}, "autoscaling.keda.prometheusUrl: expected the URL"),
        (
            {"training": {"enabled": True, "nodes": 2}},
            "training.nodes 2: expected 1 with the kind Job",
        ),
        (
            {"training": {"enabled": True}, "artifact": {"path": "/opt/net"}},
            "training: expected artifact.existingClaim",
        ),
        (
            {"training": {"enabled": True, "out": "../up"}},
            'training.out "../up": expected a folder',
        ),
        (
            {"training": {"enabled": True, "dataPath": "images"}},
            'training.dataPath "images": expected a claim in dataClaim too',
        ),
    ],
)
def test_the_templates_refuse(values: Object, message: str) -> None:
    with pytest.raises(helm.HelmError) as refused:
        render(CLAIM | values)
    assert message in str(refused.value)


def test_the_notes_say_the_next_command_and_the_target() -> None:
    said = notes(CLAIM)
    assert "kubectl --namespace nets rollout status deployment/demo-compofa-gateway" in said
    assert "port-forward service/demo-compofa-gateway 50051:50051" in said
    assert "dns:///demo-compofa-gateway-headless.nets.svc:50051" in said
    assert "not authenticated and not encrypted" in said
    assert "set store.existingSecret" in said


def test_the_notes_of_a_locked_gateway_warn_of_nothing() -> None:
    said = notes(rendering.scenario("production"))
    assert "authenticated" not in said
    assert "existingSecret" not in said
    assert "maxConnectionAgeS" not in said


def test_the_notes_warn_of_pods_that_clients_will_not_find() -> None:
    scaled = rendering.scenario("keda") | {"gateway": {}}
    assert "gateway.maxConnectionAgeS is not set" in notes(scaled)


def test_the_notes_say_how_debug_pages_and_the_live_page_are_reached() -> None:
    said = notes(rendering.scenario("tracing"))
    assert "port-forward deployment/demo-compofa-gateway 9090 &" in said
    assert "port-forward deployment/demo-compofa-gateway 8080" in said
    assert not any(told in notes(CLAIM) for told in ("/debug", "8080"))


def test_the_notes_of_a_training_say_how_to_follow_it() -> None:
    said = notes(rendering.scenario("training"))
    assert "logs --follow --selector" in said
    assert "/artifact/runs/mine/artifact" in said
