"""Dashboards and rules against a real Prometheus that scraped a real gateway."""

from __future__ import annotations

from pathlib import Path

import pytest

from supernet import shipped
from tests.charts.monitoring.prometheus_server import MISSING, running_prometheus
from tests.charts.monitoring.verification import DASHBOARDS, RULES, Found, expressions, verify
from tests.services.fetching import SMALLEST, filled

needs_prometheus = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


def wrong(found: list[Found]) -> list[tuple[str, str, str]]:
    return [(each.where, each.what, each.error or each.expr) for each in found if each.is_wrong]


@needs_prometheus
@pytest.mark.timeout(600)
def test_everything_asked_of_a_gateway_under_load_is_found(
    artifact_folder: Path, tmp_path: Path
) -> None:
    filled(artifact_folder, tmp_path / "exports", 5000, SMALLEST)  # a build takes too long here
    found = verify(artifact_folder, tmp_path)
    assert {what for _, what, _ in wrong(found)} == {"Builds", "Time to build"}, wrong(found)
    asked = sum(len(list(expressions(path))) for path in DASHBOARDS)
    assert len(found) > asked > 100, "rules are among them, and the linter"


@needs_prometheus
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_same_of_the_shipped_net(tmp_path: Path) -> None:
    assert wrong(verify(shipped.artifact_folder(), tmp_path)) == []


@needs_prometheus
def test_what_prometheus_cannot_read_is_an_error_and_what_is_not_there_is_nothing(
    tmp_path: Path,
) -> None:
    with running_prometheus(tmp_path, [], RULES) as prometheus:
        assert prometheus.ranged("compofa_queue_depth", 0, 1) == []
        with pytest.raises(ValueError, match="unclosed left parenthesis"):
            prometheus.ranged("sum(compofa_queue_depth", 0, 1)


def test_an_empty_expression_is_wrong_and_a_silent_alert_is_not() -> None:
    assert Found("serving", "Requests", "nothing", 0).is_wrong
    assert Found("serving", "Requests", "nothing", 3, error="bad").is_wrong
    assert not Found("alert, inactive", "CompofaX", "nothing", 0, may_be_empty=True).is_wrong
