"""The gateway's pod: what it runs, where the artifact is, probes, what it may do."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import ServerConfig
from gateway.services import native
from gateway.stores.by_url import STATE_DIR_VARIABLE, STORE_VARIABLE
from gateway.ui.config import UiConfig
from tests.charts.command_line import serve_options, served
from tests.charts.rendering import (
    CLAIM,
    Object,
    container,
    find,
    kinds,
    pod,
    pod_templates,
    render,
    scenario,
)

STATE = "/var/lib/compofa"
TLS: Object = {"tls": {"existingSecret": "gateway-tls", "clientCaKey": "ca.crt"}}
needs_tls = pytest.mark.skipif(
    not serve_options() >= {"--tls-cert", "--health-port", "--tokens"},
    reason="`compofa serve` has no --tls-cert, --health-port and --tokens yet",
)
needs_connection_age = pytest.mark.skipif(
    "--max-connection-age-s" not in serve_options(),
    reason="`compofa serve` has no --max-connection-age-s yet",
)


def volumes(rendered: list[Object]) -> dict[str, Object]:
    return {volume["name"]: volume for volume in pod(rendered)["volumes"]}


def mounts(rendered: list[Object]) -> dict[str, Object]:
    return {mount["mountPath"]: mount for mount in container(rendered)["volumeMounts"]}


def test_an_artifact_in_a_claim_is_mounted_read_only() -> None:
    rendered = render(CLAIM | {"artifact": {"existingClaim": "nets", "path": "mine/"}})
    assert served(container(rendered)).artifact == Path("/artifact/mine")
    assert mounts(rendered)["/artifact"]["readOnly"] is True
    claim = {"claimName": "nets", "readOnly": True}
    assert volumes(rendered)["artifact"]["persistentVolumeClaim"] == claim


def test_an_artifact_in_the_image_needs_no_volume() -> None:
    rendered = render(CLAIM | {"artifact": {"path": "/opt/nets/mine"}})
    assert served(container(rendered)).artifact == Path("/opt/nets/mine")
    assert "artifact" not in volumes(rendered)


def test_an_artifact_as_an_oci_image_is_a_volume_of_its_own() -> None:
    rendered = render(scenario("artifact-oci"))
    assert served(container(rendered)).artifact == Path("/artifact/net")
    assert volumes(rendered)["artifact"]["image"] == {
        "reference": "registry.test/nets/mine:3", "pullPolicy": "IfNotPresent"
    }  # fmt: skip
    assert mounts(rendered)["/artifact"]["readOnly"] is True


def test_an_init_container_fills_what_the_gateway_reads() -> None:
    rendered = render(scenario("artifact-init"))
    (init,) = pod(rendered)["initContainers"]
    assert {"name": "artifact", "mountPath": "/artifact"} in init["volumeMounts"]
    assert init["securityContext"] == container(rendered)["securityContext"]
    assert "emptyDir" in volumes(rendered)["artifact"]
    assert mounts(rendered)["/artifact"]["readOnly"] is True


def test_what_is_not_given_keeps_the_gateway_s_default() -> None:
    gateway = container(render(CLAIM))
    assert served(gateway) == ServerConfig(artifact=Path("/artifact"), host="0.0.0.0")
    given = {argument.split("=")[0] for argument in gateway["args"] if argument.startswith("--")}
    assert given == {"--host", "--port", "--metrics-port", "--grace-s"}


def test_options_reach_the_gateway() -> None:
    options = {"graceS": 7.5, "fallbackDeviceClass": "phone.a", "maxBatch": 4, "maxPending": 9,
               "workers": 2, "threads": 3, "maxResidentMib": 64, "learnLatency": True,
               "learnTrustClientNames": True, "fetch": False, "engine": "torch",
               "precision": "bf16", "device": "cuda:1", "logRequests": False}  # fmt: skip
    ports = {"grpc": 6000, "metrics": 6001}
    gateway = container(render(CLAIM | {"gateway": options, "ports": ports}))
    assert served(gateway) == ServerConfig(
        artifact=Path("/artifact"), host="0.0.0.0", port=6000, metrics_port=6001, grace_s=7.5,
        fallback_device_class="phone.a", max_batch=4, max_pending=9, workers=2, threads=3,
        engine="torch", precision="bf16", device="cuda:1",
    )  # fmt: skip
    assert "--max-resident-mib=64" in gateway["args"]
    assert {"--no-fetch", "--no-request-logs"} <= set(gateway["args"])
    assert gateway["args"][-2:] == ["--learn-latency", "--learn-trust-client-names"]


def test_log_level_and_debug_pages_are_options() -> None:
    config = served(container(render(CLAIM | {"gateway": {"logLevel": "debug", "debug": True}})))
    assert (config.log_level, config.debug) == ("debug", True)


def test_the_live_page_is_an_option() -> None:
    assert served(container(render(CLAIM))).ui is None
    assert served(container(render(CLAIM | {"gateway": {"ui": True}}))).ui == UiConfig()


def variables(rendered: list[Object]) -> dict[str, Object]:
    return {variable["name"]: variable for variable in container(rendered)["env"]}


def test_traces_go_where_they_are_told_and_say_from_which_pod() -> None:
    rendered = render(scenario("tracing"))
    tracing = served(container(rendered)).tracing
    assert tracing is not None
    assert tracing.trace_endpoint == "https://otel-collector.monitoring.svc:4317"
    assert tracing.trace_sample == 0.01
    names = [variable["name"] for variable in container(rendered)["env"]]
    assert names.index("POD_NAME") < names.index("OTEL_RESOURCE_ATTRIBUTES"), "else not replaced"
    told = variables(rendered)
    assert "k8s.pod.name=$(POD_NAME)" in told["OTEL_RESOURCE_ATTRIBUTES"]["value"]
    source = {"secretKeyRef": {"name": "collector", "key": "headers"}}
    assert told["OTEL_EXPORTER_OTLP_HEADERS"]["valueFrom"] == source


@pytest.mark.parametrize("sample", [0, 0.00001, 0.5, 1])
def test_any_share_can_be_traced(sample: float) -> None:
    values = {"tracing": {"endpoint": "http://collector:4317", "sample": sample}}
    tracing = served(container(render(CLAIM | values))).tracing
    assert tracing is not None
    assert tracing.trace_sample == sample


def test_nothing_is_traced_unless_asked_for() -> None:
    rendered = render(CLAIM)
    assert served(container(rendered)).tracing is None
    assert not any("OTEL" in name or name == "POD_NAME" for name in variables(rendered))


def test_what_the_chart_has_no_value_for_can_be_given_all_the_same() -> None:
    extra = ["--max-fetches=2", "--export-cache=/tmp/a b"]
    gateway = container(render(CLAIM | {"gateway": {"extraArgs": extra}}))
    assert gateway["args"][-2:] == extra
    served(gateway)


@needs_connection_age
def test_the_age_of_connections_is_one_of_serve_s_options() -> None:
    served(container(render(scenario("hpa"))))


def test_the_age_of_connections_is_limited_where_asked_for() -> None:
    arguments = container(render(scenario("hpa")))["args"]
    assert {"--max-connection-age-s=120", "--max-connection-age-grace-s=30"} <= set(arguments)


def test_probes_ask_the_health_service() -> None:
    gateway = container(render(CLAIM | {"ports": {"grpc": 6000}}))
    asked = {"port": 6000, "service": native.SERVICE}
    assert gateway["startupProbe"]["grpc"] == asked
    assert gateway["readinessProbe"]["grpc"] == asked
    assert gateway["livenessProbe"]["grpc"] == {"port": 6000}


def test_probes_of_a_gateway_with_tls_ask_the_port_that_has_none() -> None:
    gateway = container(render(CLAIM | TLS))
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert gateway[probe]["grpc"]["port"] == 50052
    assert {"name": "health", "containerPort": 50052} in gateway["ports"]
    assert "--health-port=50052" in gateway["args"]


def test_certificates_and_tokens_are_files_of_secrets_that_can_be_renewed() -> None:
    rendered = render(CLAIM | TLS | {"auth": {"existingSecret": "tokens", "key": "hashed"}})
    assert {
        "--tls-cert=/etc/compofa/tls/tls.crt",
        "--tls-key=/etc/compofa/tls/tls.key",
        "--tls-client-ca=/etc/compofa/tls/ca.crt",
        "--tokens=/etc/compofa/auth/hashed",
    } <= set(container(rendered)["args"])
    for path, secret in (("/etc/compofa/tls", "gateway-tls"), ("/etc/compofa/auth", "tokens")):
        mount = mounts(rendered)[path]
        assert mount["readOnly"] is True
        assert "subPath" not in mount, "such a file is never renewed"
        mounted = volumes(rendered)[mount["name"]]["secret"]
        assert (mounted["secretName"], oct(mounted["defaultMode"])) == (secret, "0o440")


def test_tokens_in_plain_text_have_to_be_asked_for() -> None:
    auth = {"existingSecret": "tokens", "withoutTls": True}
    assert "--tokens-without-tls" in container(render(CLAIM | {"auth": auth}))["args"]


@needs_tls
def test_what_locks_a_gateway_are_options_of_serve() -> None:
    served(container(render(scenario("production"))))


def test_a_rollout_brings_up_before_it_takes_down() -> None:
    spec = find(render(CLAIM), "Deployment")["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    probe = container(render(CLAIM))["startupProbe"]
    start_s = probe["periodSeconds"] * probe["failureThreshold"]
    assert spec["progressDeadlineSeconds"] > start_s


@pytest.mark.parametrize("name", ["production", "artifact-init", "trial", "training"])
def test_every_pod_is_restricted(name: str) -> None:
    for template in pod_templates(render(scenario(name))):
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for each in [*spec["containers"], *spec.get("initContainers", [])]:
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert each["resources"]["limits"]["memory"]


def test_the_only_places_to_write_are_bounded() -> None:
    rendered = render(CLAIM)
    told = {variable["name"]: variable["value"] for variable in container(rendered)["env"]}
    assert told[STATE_DIR_VARIABLE] == told["HOME"] == STATE
    assert told["XDG_CACHE_HOME"].startswith(STATE)
    writable = {path for path, mount in mounts(rendered).items() if not mount.get("readOnly")}
    assert writable == {STATE, "/tmp"}
    for name in ("state", "tmp"):
        assert volumes(rendered)[name]["emptyDir"] == {"sizeLimit": "4Gi"}


def test_the_store_s_url_comes_from_a_secret() -> None:
    store = {"existingSecret": "tables", "key": "redis-url"}
    gateway = container(render(CLAIM | {"store": store}))
    source = {"secretKeyRef": {"name": "tables", "key": "redis-url"}}
    assert {"name": STORE_VARIABLE, "valueFrom": source} in gateway["env"]
    assert not any("store" in argument for argument in gateway["args"])


def test_no_account_holds_a_token() -> None:
    rendered = render(CLAIM)
    account = find(rendered, "ServiceAccount")
    assert account["automountServiceAccountToken"] is False
    assert pod(rendered)["serviceAccountName"] == account["metadata"]["name"]


def test_an_account_that_exists_is_used_and_not_made() -> None:
    rendered = render(CLAIM | {"serviceAccount": {"create": False, "name": "theirs"}})
    assert "ServiceAccount" not in kinds(rendered)
    assert pod(rendered)["serviceAccountName"] == "theirs"


def test_an_image_is_pinned_by_its_digest() -> None:
    digest = "sha256:" + "0" * 64
    image = {"repository": "registry.test/compofa", "tag": "1", "digest": digest}
    assert container(render(CLAIM | {"image": image}))["image"] == (
        f"registry.test/compofa:1@{digest}"
    )
