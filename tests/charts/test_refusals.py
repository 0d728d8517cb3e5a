"""What the chart refuses, before Kubernetes or the gateway would."""

from __future__ import annotations

import pytest

from tests.charts import helm
from tests.charts.rendering import CLAIM, Object, container, render


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
        ({"image": {"repository": "registry.test/com pofa"}}, "at '/image/repository'"),
        ({"image": {"repository": "registry.test/Compofa"}}, "at '/image/repository'"),
        ({"image": {"repository": "registry.test/compofa:1"}}, "at '/image/repository'"),
        ({"gateway": {"maxConnectionAgeS": 31536001}}, "at '/gateway/maxConnectionAgeS': maximum"),
        ({"gateway": {"extraEnv": [{"value": "1"}]}}, "at '/gateway/extraEnv/0': missing"),
        ({"gateway": {"extraVolumes": [{}]}}, "at '/gateway/extraVolumes/0': missing"),
        ({"gateway": {"extraVolumeMounts": [{"name": "a"}]}}, "at '/gateway/extraVolumeMounts/0'"),
        ({"fullnameOverride": "My_Gateway"}, "at '/fullnameOverride': 'My_Gateway'"),
        ({"fullnameOverride": "4-gateways"}, "at '/fullnameOverride': '4-gateways'"),
        ({"nameOverride": "a.b"}, "at '/nameOverride': 'a.b'"),
        ({"rollout": {"maxSurge": "0"}}, "at '/rollout/maxSurge'"),
        ({"autoscaling": {"keda": {"queueDepth": 0.0005}}}, "at '/autoscaling/keda/queueDepth'"),
        ({"autoscaling": {"hpa": {"queueDepth": 0.0005}}}, "at '/autoscaling/hpa/queueDepth'"),
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
        ({"rollout": {"maxSurge": "0%"}}, "rollout.maxUnavailable 0: expected maxSurge above 0"),
        (
            {"rollout": {"maxSurge": 0, "maxUnavailable": "0%"}},
            "rollout.maxUnavailable 0%: expected maxSurge above 0",
        ),
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
        ({"training": {"enabled": True}}, "training.dataClaim: expected a claim with"),
    ],
)
def test_the_templates_refuse(values: Object, message: str) -> None:
    with pytest.raises(helm.HelmError) as refused:
        render(CLAIM | values)
    assert message in str(refused.value)


@pytest.mark.parametrize("rollout", [{"maxSurge": 0, "maxUnavailable": "10%"}, {"maxSurge": "1%"}])
def test_a_rollout_that_can_go_on_is_taken(rollout: Object) -> None:
    assert render(CLAIM | {"rollout": rollout})


@pytest.mark.parametrize(
    "repository",
    ["compofa", "library/compofa", "localhost:5000/a/b__c-d.e", "[::1]:5000/compofa"],
)
def test_an_image_can_be_anywhere(repository: str) -> None:
    rendered = render(CLAIM | {"image": {"repository": repository, "tag": "1"}})
    assert container(rendered)["image"] == f"{repository}:1"
