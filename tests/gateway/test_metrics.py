from datetime import UTC, datetime

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics import exposition as openmetrics

from gateway.calls import Call, Trace
from gateway.errors import TooFast
from gateway.metrics import CallMetrics
from gateway.request import Answer, Selection
from gateway.stores.tables import DeviceClassInfo
from tests.gateway.tracing.spans import Kept

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
ALPHA = DeviceClassInfo("alpha", 5.0, True, "measured", 3, CREATED, 9, "measured", None, 4)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> CallMetrics:
    return CallMetrics(registry, {"alpha": "alpha", "beta": "beta", "a": "alpha"}.get)


def answered(rows: int = 1, batch: int = 1, *, given_up: float | None = None) -> Call:
    selection = Selection("d2-3@12", accuracy=0.75, latency_ms=4.0, degraded=given_up is not None)
    call = Call("Infer", "peer", "alpha", seconds=0.02)
    logits = np.zeros((rows, 10), np.float32)
    call.answered(Answer(logits, (0,) * rows, selection, 8.0, 2.0, batch, given_up or 0.0))
    return call


def test_an_answer_is_counted_under_its_class_and_subnet(
    registry: CollectorRegistry, metrics: CallMetrics
) -> None:
    metrics.observe(answered())
    value = registry.get_sample_value
    alpha = {"device_class": "alpha"}
    assert value("compofa_requests_total", {**alpha, "code": "OK", "method": "Infer"}) == 1
    assert value("compofa_subnets_selected_total", {**alpha, "subnet": "d2-3@12"}) == 1
    assert value("compofa_delivered_accuracy_sum", alpha) == 0.75
    assert value("compofa_request_seconds_sum", alpha) == pytest.approx(0.02)
    assert value("compofa_queue_seconds_sum", alpha) == pytest.approx(0.002)
    assert value("compofa_compute_seconds_sum", alpha) == pytest.approx(0.008)
    assert value("compofa_predicted_to_measured_latency_ratio_sum", alpha) == pytest.approx(0.5)
    assert value("compofa_degraded_total", alpha) == 0


def test_a_call_by_an_alias_counts_for_the_class_it_means(
    registry: CollectorRegistry, metrics: CallMetrics
) -> None:
    for name in ("a", "alpha"):
        metrics.observe(Call("Infer", "peer", name))
    labels = {"device_class": "alpha", "code": "OK", "method": "Infer"}
    assert registry.get_sample_value("compofa_requests_total", labels) == 2


def test_a_prediction_for_one_image_is_not_held_against_a_batch(
    registry: CollectorRegistry, metrics: CallMetrics
) -> None:
    metrics.observe(answered(batch=4))
    assert registry.get_sample_value("compofa_batch_size_sum", {"device_class": "alpha"}) == 4
    ratio = "compofa_predicted_to_measured_latency_ratio_count"
    assert registry.get_sample_value(ratio, {"device_class": "alpha"}) is None


def test_a_fetch_is_a_request_that_says_nothing_of_how_long_those_take(
    registry: CollectorRegistry, metrics: CallMetrics
) -> None:
    for code in ("OK", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"):
        metrics.observe(Call("FetchSubnet", "peer", "alpha", export_format="onnx", code=code))
    value, alpha = registry.get_sample_value, {"device_class": "alpha"}
    labels = {**alpha, "code": "OK", "method": "FetchSubnet"}
    assert value("compofa_requests_total", labels) == 1
    for name in ("request_seconds_count", "shed_total", "deadlines_missed_total"):
        assert value(f"compofa_{name}", alpha) is None


@pytest.mark.parametrize(
    ("code", "metric"),
    [
        ("DEADLINE_EXCEEDED", "compofa_deadlines_missed_total"),
        ("RESOURCE_EXHAUSTED", "compofa_shed_total"),
    ],
)
def test_what_was_not_answered_is_counted_by_why(
    registry: CollectorRegistry, metrics: CallMetrics, code: str, metric: str
) -> None:
    metrics.observe(Call("Infer", "peer", "beta", code=code))
    assert registry.get_sample_value(metric, {"device_class": "beta"}) == 1
    assert registry.get_sample_value("compofa_delivered_accuracy_count", {}) is None


def test_degraded_answers_are_counted(registry: CollectorRegistry, metrics: CallMetrics) -> None:
    metrics.observe(answered(given_up=0.0))
    metrics.observe(answered())
    assert registry.get_sample_value("compofa_degraded_total", {"device_class": "alpha"}) == 1


def test_what_degraded_answers_gave_up_is_spread_over_all_answers(
    registry: CollectorRegistry, metrics: CallMetrics
) -> None:
    for given_up in (None, None, 0.01, 0.03):
        metrics.observe(answered(given_up=given_up))
    value, alpha = registry.get_sample_value, {"device_class": "alpha"}
    assert value("compofa_accuracy_given_up_count", alpha) == 4
    assert value("compofa_accuracy_given_up_sum", alpha) == pytest.approx(0.04)
    within = {le: value("compofa_accuracy_given_up_bucket", {**alpha, "le": le})
              for le in ("0.0", "0.01", "0.05")}  # fmt: skip
    assert within == {"0.0": 2, "0.01": 3, "0.05": 4}


def test_made_up_device_classes_share_one_label(
    registry: CollectorRegistry, metrics: CallMetrics
) -> None:
    for i in range(1000):
        metrics.observe(Call("Infer", "peer", f"class-{i}", code="NOT_FOUND"))
    labels = {"device_class": "unknown", "code": "NOT_FOUND", "method": "Infer"}
    assert registry.get_sample_value("compofa_requests_total", labels) == 1000
    (requests,) = (m for m in registry.collect() if m.name == "compofa_requests")
    assert len({tuple(s.labels.items()) for s in requests.samples}) == 1


def test_a_caller_that_is_too_fast_is_no_load_to_scale_for(
    registry: CollectorRegistry, metrics: CallMetrics
) -> None:
    call = Call("Infer", "peer")
    call.failed(TooFast(retry_after_s=1.0))
    metrics.observe(call)
    labels = {"device_class": "", "code": "RESOURCE_EXHAUSTED", "method": "Infer"}
    assert registry.get_sample_value("compofa_requests_total", labels) == 1
    assert registry.get_sample_value("compofa_shed_total", {"device_class": ""}) is None


def test_latencies_name_a_trace_where_its_span_is_sent(
    registry: CollectorRegistry, metrics: CallMetrics
) -> None:
    span = Kept().tracer.start_span("request")
    for trace in (None, Trace(span, "not sent"), Trace(span, "ab" * 16, "cd" * 8)):
        call = answered()
        call.trace = trace
        metrics.observe(call)
    lines = openmetrics.generate_latest(registry).decode().splitlines()  # type: ignore[no-untyped-call]
    named = [line for line in lines if " # " in line]
    assert sorted(line.partition("_bucket")[0] for line in named) == [
        "compofa_compute_seconds", "compofa_queue_seconds", "compofa_request_seconds"
    ]  # fmt: skip
    ids = f'{{span_id="{"cd" * 8}",trace_id="{"ab" * 16}"}}'
    assert all(line.partition(" # ")[2].startswith(ids) for line in named)
