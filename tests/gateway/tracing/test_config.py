import pytest
from pydantic import ValidationError

from gateway.tracing.config import TracingConfig, is_asked_for, is_switched_off, unsupported

RECEIVER = "http://collector:4317"


@pytest.mark.parametrize("url", [RECEIVER, "https://collector.example:443", "http://[::1]:4317/"])
def test_a_receiver_is_a_url_with_a_port(url: str) -> None:
    assert TracingConfig(trace_endpoint=url).trace_endpoint == url


@pytest.mark.parametrize(
    "url",
    ["", "collector:4317", "http://collector", "ftp://collector:4317", "http://:4317",
     "http://u:p@collector:4317", "http://collector:4317/v1/traces", "http://collector:99999",
     "http://collector:4317?a=b", "http://collector:x"],
)  # fmt: skip
def test_anything_else_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(ValidationError, match="expected http://HOST:PORT"):
        TracingConfig(trace_endpoint=url)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_between_none_and_all(share: float) -> None:
    with pytest.raises(ValidationError, match="trace_sample"):
        TracingConfig(trace_sample=share)


@pytest.mark.parametrize(
    ("variables", "asked_for"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "mine"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": RECEIVER}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": RECEIVER}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": RECEIVER}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": RECEIVER}, False),
    ],
)
def test_the_variables_ask_for_traces_or_not(variables: dict[str, str], asked_for: bool) -> None:
    assert is_asked_for(variables) == asked_for


def test_one_variable_switches_all_off() -> None:
    assert is_switched_off({"OTEL_SDK_DISABLED": "True"})
    assert not is_switched_off({"OTEL_SDK_DISABLED": "false"})


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_TRACES_EXPORTER": "otlp"}, None),
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
            "OTEL_EXPORTER_OTLP_PROTOCOL: expected grpc, got 'http/protobuf'",
        ),
        (
            {
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
            },
            None,
        ),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER: expected otlp, got 'zipkin'"),
    ],
)
def test_what_the_gateway_does_not_speak_is_named(
    variables: dict[str, str], problem: str | None
) -> None:
    assert unsupported(variables) == problem
