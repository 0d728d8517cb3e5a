"""The chart as Helm lints and renders it: no cluster is needed, and none is asked."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

from gateway import cli
from gateway.config import ServerConfig
from gateway.services import native
from gateway.stores import STATE_DIR_VARIABLE, STORE_VARIABLE

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "compofa-gateway"
STATE = "/var/lib/compofa"

Object = dict[str, Any]

CLAIM: Object = {
    "image": {"repository": "registry.test/compofa"},
    "artifact": {"existingClaim": "nets"},
}


@pytest.fixture(scope="module")
def chart() -> Iterator[helm_python.Chart]:
    with helm_python.Chart.load(CHART) as loaded:
        yield loaded


def render(chart: helm_python.Chart, values: Object) -> dict[str, Object]:
    """What is rendered, by kind, for a release `demo`."""
    files = chart.render(values, name="demo", namespace="nets")
    documents = [yaml.safe_load(text) for path, text in files.items() if path.endswith(".yaml")]
    return {document["kind"]: document for document in documents if document}


def pod_of(documents: dict[str, Object]) -> Object:
    spec: Object = documents["Deployment"]["spec"]["template"]["spec"]
    return spec


def container_of(documents: dict[str, Object]) -> Object:
    (container,) = pod_of(documents)["containers"]
    assert isinstance(container, dict)
    return container


def served(container: Object) -> ServerConfig:
    """What the gateway's own command line makes of the container's arguments."""
    assert container["command"] == ["compofa"]
    arguments = cli.build_parser("compofa").parse_args(container["args"])
    names = ServerConfig.model_fields.keys() & vars(arguments).keys()
    given = {name: getattr(arguments, name) for name in names}
    return ServerConfig(**{name: value for name, value in given.items() if value is not None})


def test_lint_finds_only_that_there_is_no_icon() -> None:
    report = helm_python.lint(CHART, CLAIM, strict=True)
    assert [message["error"] for message in report["messages"]] == ["icon is recommended"]
    assert report["errors"] == []


def test_the_image_is_of_the_package_s_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == version


def test_an_artifact_in_a_claim_is_mounted_read_only(chart: helm_python.Chart) -> None:
    documents = render(chart, CLAIM | {"artifact": {"existingClaim": "nets", "path": "mine/"}})
    container = container_of(documents)
    assert served(container).artifact == Path("/artifact/mine")
    assert {"name": "artifact", "mountPath": "/artifact", "readOnly": True} in container[
        "volumeMounts"
    ]
    claim = {"claimName": "nets", "readOnly": True}
    assert {"name": "artifact", "persistentVolumeClaim": claim} in pod_of(documents)["volumes"]


def test_an_artifact_in_the_image_needs_no_claim(chart: helm_python.Chart) -> None:
    documents = render(chart, CLAIM | {"artifact": {"path": "/opt/nets/mine"}})
    assert served(container_of(documents)).artifact == Path("/opt/nets/mine")
    assert [volume["name"] for volume in pod_of(documents)["volumes"]] == ["state"]


def test_what_is_not_given_keeps_the_gateway_s_default(chart: helm_python.Chart) -> None:
    config = served(container_of(render(chart, CLAIM)))
    assert config == ServerConfig(artifact=Path("/artifact"), host="0.0.0.0")
    assert "--no-fetch" not in container_of(render(chart, CLAIM))["args"]


def test_options_reach_the_gateway(chart: helm_python.Chart) -> None:
    options = {"graceS": 7.5, "fallbackDeviceClass": "phone.a", "maxBatch": 4, "maxPending": 9,
               "workers": 2, "threads": 3, "maxResidentMib": 64, "learnLatency": True,
               "learnTrustClientNames": True, "fetch": False}  # fmt: skip
    ports = {"grpc": 6000, "metrics": 6001}
    container = container_of(render(chart, CLAIM | {"gateway": options, "ports": ports}))
    assert served(container) == ServerConfig(
        artifact=Path("/artifact"), host="0.0.0.0", port=6000, metrics_port=6001, grace_s=7.5,
        fallback_device_class="phone.a", max_batch=4, max_pending=9, workers=2, threads=3,
    )  # fmt: skip
    assert "--max-resident-mib=64" in container["args"]
    assert "--no-fetch" in container["args"]
    assert container["args"][-2:] == ["--learn-latency", "--learn-trust-client-names"]


def test_probes_ask_the_health_service(chart: helm_python.Chart) -> None:
    container = container_of(render(chart, CLAIM | {"ports": {"grpc": 6000}}))
    gateway = {"port": 6000, "service": native.SERVICE}
    assert container["startupProbe"]["grpc"] == gateway
    assert container["readinessProbe"]["grpc"] == gateway
    assert container["livenessProbe"]["grpc"] == {"port": 6000}


@pytest.mark.parametrize("grace_s", [0, 7.5, 20, 3600])
def test_a_drain_that_uses_all_its_grace_is_not_killed(
    chart: helm_python.Chart, grace_s: float
) -> None:
    documents = render(chart, CLAIM | {"gateway": {"graceS": grace_s}})
    assert served(container_of(documents)).grace_s == grace_s
    assert pod_of(documents)["terminationGracePeriodSeconds"] == math.ceil(grace_s) + 10


def test_the_pod_is_restricted(chart: helm_python.Chart) -> None:
    documents = render(chart, CLAIM)
    pod = pod_of(documents)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container_of(documents)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_only_place_to_write_is_the_state_folder(chart: helm_python.Chart) -> None:
    documents = render(chart, CLAIM)
    container = container_of(documents)
    assert container["env"] == [
        {"name": STATE_DIR_VARIABLE, "value": STATE},
        {"name": "XDG_CACHE_HOME", "value": f"{STATE}/cache"},
    ]
    writable = [mount for mount in container["volumeMounts"] if not mount.get("readOnly")]
    assert writable == [{"name": "state", "mountPath": STATE}]
    assert {"name": "state", "emptyDir": {}} in pod_of(documents)["volumes"]


def test_the_store_s_url_comes_from_a_secret(chart: helm_python.Chart) -> None:
    store = {"existingSecret": "tables", "key": "redis-url"}
    container = container_of(render(chart, CLAIM | {"store": store}))
    source = {"secretKeyRef": {"name": "tables", "key": "redis-url"}}
    assert {"name": STORE_VARIABLE, "valueFrom": source} in container["env"]
    assert not any("store" in argument for argument in container["args"])


def test_no_pod_holds_a_token(chart: helm_python.Chart) -> None:
    documents = render(chart, CLAIM)
    account = documents["ServiceAccount"]
    assert account["automountServiceAccountToken"] is False
    assert pod_of(documents)["automountServiceAccountToken"] is False
    assert pod_of(documents)["serviceAccountName"] == account["metadata"]["name"]


def test_an_account_that_exists_is_used_and_not_made(chart: helm_python.Chart) -> None:
    account = {"create": False, "name": "theirs"}
    documents = render(chart, CLAIM | {"serviceAccount": account})
    assert "ServiceAccount" not in documents
    assert pod_of(documents)["serviceAccountName"] == "theirs"


def test_the_service_resolves_to_the_pods(chart: helm_python.Chart) -> None:
    documents = render(chart, CLAIM)
    service, template = documents["Service"]["spec"], documents["Deployment"]["spec"]["template"]
    assert service["clusterIP"] == "None"
    assert service["selector"].items() <= template["metadata"]["labels"].items()
    listening = {p["name"]: p["containerPort"] for p in container_of(documents)["ports"]}
    assert {p["targetPort"]: p["port"] for p in service["ports"]} == listening


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"replicas": 2}, "additional properties 'replicas' not allowed"),
        ({"gateway": {"graceS": -1}}, "at '/gateway/graceS': minimum: got -1, want 0"),
        ({"gateway": {"graceS": None}}, "at '/gateway': missing property 'graceS'"),
        ({"gateway": {"workers": 0}}, "at '/gateway/workers': minimum: got 0, want 1"),
        ({"ports": {"grpc": 80}}, "at '/ports/grpc': minimum: got 80, want 1,024"),
        ({"artifact": {"existingClaim": "My Nets"}}, "at '/artifact/existingClaim': 'My Nets'"),
        ({"artifact": None}, "missing property 'artifact'"),
        ({"store": {"existingSecret": "My Redis"}}, "at '/store/existingSecret': 'My Redis'"),
    ],
)
def test_the_schema_refuses(chart: helm_python.Chart, values: Object, message: str) -> None:
    with pytest.raises(helm_python.HelmValuesError) as refused:
        render(chart, CLAIM | values)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image": {}}, "image.repository: expected an image in which"),
        ({"artifact": {}}, "artifact: expected existingClaim, a claim that holds one, or path"),
        ({"artifact": {"path": "mine"}}, 'artifact.path "mine": expected an absolute path'),
        (
            {"artifact": {"existingClaim": "nets", "path": "a/../../etc"}},
            'artifact.path "a/../../etc": expected a folder inside the claim',
        ),
        (
            {"artifact": {"existingClaim": "nets", "path": "/mine"}},
            'artifact.path "/mine": expected a folder inside the claim',
        ),
        ({"ports": {"metrics": 50051}}, "ports.metrics 50051: expected another port"),
    ],
)
def test_the_templates_refuse(chart: helm_python.Chart, values: Object, message: str) -> None:
    with pytest.raises(helm_python.HelmRenderError) as refused:
        render(chart, CLAIM | values)
    assert message in str(refused.value)


def test_the_notes_name_the_target(chart: helm_python.Chart) -> None:
    notes = chart.render(CLAIM, name="demo", namespace="nets")[
        "compofa-gateway/templates/NOTES.txt"
    ]
    assert "dns:///demo-compofa-gateway.nets.svc:50051" in notes
