"""Options that a gateway would end on at its start: the chart refuses them, and only those."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway import cli
from gateway.config import ServerConfig
from gateway.engines.opening import make_backend
from gateway.security.config import SecurityConfig
from gateway.tracing.config import TracingConfig
from gateway.ui.config import UiConfig
from tests.charts import helm
from tests.charts.rendering import CLAIM, Object, render

FILE = Path("file")
TLS: Object = {"tls": {"existingSecret": "gateway-tls"}}


def serve(*options: str) -> None:
    cli.serve(cli.build_parser("compofa").parse_args(["serve", "net", *options]))


REFUSED: list[tuple[Object, str, Callable[[], object]]] = [
    (
        {"gateway": {"ui": True}, "ports": {"metrics": 8080}},
        "ports 8080: expected another with gateway.ui",
        lambda: ServerConfig(artifact=FILE, metrics_port=8080, ui=UiConfig()),
    ),
    (
        {"gateway": {"ui": True}, "ports": {"grpc": 8080}},
        "ports 8080: expected another with gateway.ui",
        lambda: ServerConfig(artifact=FILE, port=8080, ui=UiConfig()),
    ),
    (
        {"gateway": {"ui": True}, "ports": {"health": 8080}, **TLS},
        "ports 8080: expected another with gateway.ui",
        lambda: ServerConfig(
            artifact=FILE, ui=UiConfig(), security=SecurityConfig(health_port=8080)
        ),
    ),
    (
        {"auth": {"existingSecret": "tokens", "withoutTls": True}, **TLS},
        'auth.withoutTls: expected false with tls.existingSecret "gateway-tls"',
        lambda: SecurityConfig(tls_cert=FILE, tls_key=FILE, tokens=FILE, tokens_without_tls=True),
    ),
    (
        {"gateway": {"engine": "onnxruntime", "precision": "bf16"}},
        'gateway.precision "bf16": expected f32 with the engine onnxruntime',
        lambda: make_backend("onnxruntime", precision="bf16", device="cpu"),
    ),
    (
        {"gateway": {"engine": "torch", "device": "cpu", "precision": "bf16"}},
        'gateway.precision "bf16": expected f32 with the engine torch on the device cpu',
        lambda: make_backend("torch", precision="bf16", device="cpu"),
    ),
    (
        {"gateway": {"engine": "onnxruntime", "threads": 2}},
        "gateway.threads 2: expected 1 with the engine onnxruntime",
        lambda: make_backend("onnxruntime", threads=2),
    ),
    (
        {"gateway": {"engine": "openvino", "device": "cuda:1"}},
        'gateway.device "cuda:1": expected cpu with the engine openvino',
        lambda: make_backend("openvino", device="cuda:1"),
    ),
    (
        {"gateway": {"engine": "onnxruntime", "device": "cuda"}},
        'gateway.device "cuda": expected cpu with the engine onnxruntime',
        lambda: make_backend("onnxruntime", device="cuda"),
    ),
    (
        {"tracing": {"endpoint": "http://collector:65536"}},
        'tracing.endpoint "http://collector:65536": expected a port from 1 to 65535',
        lambda: TracingConfig(trace_endpoint="http://collector:65536"),
    ),
    (
        {"tracing": {"endpoint": "http://collector:0"}},
        'tracing.endpoint "http://collector:0": expected a port from 1 to 65535',
        lambda: TracingConfig(trace_endpoint="http://collector:0"),
    ),
    (
        {"tracing": {"endpoint": "http://collector#a:1"}},
        "at '/tracing/endpoint'",
        lambda: TracingConfig(trace_endpoint="http://collector#a:1"),
    ),
    (
        {"gateway": {"maxConnectionAgeS": 31536001}},
        "at '/gateway/maxConnectionAgeS': maximum",
        lambda: SecurityConfig(max_connection_age_s=31536001),
    ),
    (
        {"gateway": {"maxConnectionAgeS": 1, "maxConnectionAgeGraceS": 31536001}},
        "at '/gateway/maxConnectionAgeGraceS': maximum",
        lambda: SecurityConfig(max_connection_age_s=1, max_connection_age_grace_s=31536001),
    ),
    (
        {"gateway": {"learnTrustClientNames": True}},
        "gateway.learnTrustClientNames: expected learnLatency too",
        lambda: serve("--learn-trust-client-names"),
    ),
]


@pytest.mark.parametrize(
    ("values", "message", "gateway"), REFUSED, ids=[message for _, message, _ in REFUSED]
)
def test_what_the_gateway_would_end_on_is_refused(
    values: Object, message: str, gateway: Callable[[], object]
) -> None:
    with pytest.raises(helm.HelmError) as refused:
        render(CLAIM | values)
    assert message in str(refused.value)
    with pytest.raises(ValueError, match=r".+"):  # the gateway agrees
        gateway()


@pytest.mark.parametrize(
    "values",
    [
        {"gateway": {"ui": True}, "ports": {"metrics": 8081}},
        {"ports": {"metrics": 8080}},
        {"auth": {"existingSecret": "tokens", "withoutTls": False}, **TLS},
        {"gateway": {"engine": "openvino", "precision": "bf16", "threads": 2}},
        {"gateway": {"engine": "torch", "precision": "bf16"}},
        {"gateway": {"precision": "bf16", "device": "cpu"}},
        {"gateway": {"engine": "onnxruntime", "precision": "f32", "threads": 1, "device": "cpu"}},
        {"gateway": {"engine": "auto", "device": "cuda"}},
        {"tracing": {"endpoint": "http://[::1]:65535"}},
        {"gateway": {"maxConnectionAgeS": 31536000, "maxConnectionAgeGraceS": 31536000}},
        {"gateway": {"learnTrustClientNames": True, "learnLatency": True}},
    ],
    ids=str,
)
def test_what_the_gateway_takes_is_taken(values: Object) -> None:
    assert render(CLAIM | values)
