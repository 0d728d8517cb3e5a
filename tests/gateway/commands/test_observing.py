import argparse

import pytest

from gateway.commands.observing import add_options, tracing_of
from gateway.tracing.config import TracingConfig
from supernet.commandline import UsageError

RECEIVER = "http://collector:4317"
BY_VARIABLE = {"OTEL_EXPORTER_OTLP_ENDPOINT": RECEIVER}


def tracing(*words: str, **environ: str) -> TracingConfig | None:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return tracing_of(parser.parse_args(words), environ)


def test_nothing_is_traced_unless_asked_for() -> None:
    assert tracing() is None
    assert tracing(OTEL_SERVICE_NAME="mine") is None


def test_an_option_or_a_variable_asks_for_it() -> None:
    assert tracing("--trace-endpoint", RECEIVER) == TracingConfig(trace_endpoint=RECEIVER)
    assert tracing(**BY_VARIABLE) == TracingConfig()
    assert tracing("--trace-sample", "0.1", **BY_VARIABLE) == TracingConfig(trace_sample=0.1)


def test_the_switch_for_all_of_opentelemetry_is_above_both() -> None:
    assert tracing("--trace-endpoint", RECEIVER, OTEL_SDK_DISABLED="true") is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--trace-sample", "0.1"), "--trace-sample: expected --trace-endpoint with it"),
        (("--trace-endpoint", "collector"), "trace_endpoint: expected http://HOST:PORT"),
        (("--trace-endpoint", RECEIVER, "--trace-sample", "2"), "trace_sample: .* got '2'"),
        (("--trace-endpoint", RECEIVER, "--trace-sample", "all"), "trace_sample: .* got 'all'"),
    ],
)
def test_what_makes_no_sense_is_bad_usage(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        tracing(*words)
