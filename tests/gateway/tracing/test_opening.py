from io import StringIO
from pathlib import Path

import pytest

from gateway import logs
from gateway.tracing.config import TracingConfig
from gateway.tracing.opening import open_tracing
from supernet.manifest import Manifest, read_manifest
from tests.gateway.test_logs import lines, undone

RECEIVER = "http://127.0.0.1:4317"


@pytest.fixture
def manifest(artifact_folder: Path) -> Manifest:
    return read_manifest(artifact_folder)


def test_off_is_nothing_at_all(manifest: Manifest) -> None:
    with open_tracing(None, manifest) as tracing:
        assert tracing is None


def test_a_protocol_that_is_not_spoken_is_a_warning_by_variables_and_nothing_by_option(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", RECEIVER)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    text = StringIO()
    with undone():
        logs.configure(text)
        with open_tracing(TracingConfig(), manifest) as tracing:
            assert tracing is None
        with open_tracing(TracingConfig(trace_endpoint=RECEIVER), manifest) as tracing:
            assert tracing is not None
    warned, on = lines(text)
    assert warned["event"] == (
        "nothing is traced: OTEL_EXPORTER_OTLP_PROTOCOL: expected grpc, got 'http/protobuf'"
    )
    assert (on["event"], on["endpoint"]) == ("tracing", RECEIVER)


def test_variables_that_make_no_sense_are_one_line(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "squeeze")
    config = TracingConfig(trace_endpoint=RECEIVER)
    with pytest.raises(ValueError, match=r"^tracing: .*squeeze"), open_tracing(config, manifest):
        pass
