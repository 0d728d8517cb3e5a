"""Every expression of every dashboard, and every rule, asked of a real Prometheus.

    python -m tests.charts.monitoring.verification [ARTIFACT]

Starts a real gateway with a real store, makes everything happen to it that it counts
(`exercise.py`), and lets a real Prometheus scrape it meanwhile. Prints what each expression found;
the exit status is 1 where one found nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from supernet import shipped
from tests.charts.monitoring.exercise import OPTIONS, Exercise
from tests.charts.monitoring.prometheus_server import (
    MISSING,
    PrometheusServer,
    Series,
    running_prometheus,
)
from tests.redis_server import RedisServer
from tests.redis_server import running as running_redis

CHART = Path(__file__).parents[3] / "charts" / "compofa-gateway"
RULES = tuple(sorted((CHART / "rules").glob("*.yaml")))
DASHBOARDS = tuple(sorted((CHART / "dashboards").glob("*.json")))
START_WITHIN_S = 300.0  # a net is compiled when it is first served
WITH_EXEMPLARS = ("compofa_request_seconds", "compofa_queue_seconds", "compofa_compute_seconds")
# What Grafana would put for its variables; the longest names first.
_VALUES = {"$__rate_interval": "10s", "$__range": "60s", "$namespace": ".*", "$job": ".*",
           "$device_class": ".*"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Expression:
    """One thing that a dashboard asks Prometheus; `label` where it asks for a label's values."""

    dashboard: str
    panel: str
    expr: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """An expression, or a rule, and how many series it came to; `error` where it failed."""

    where: str
    what: str
    expr: str
    series: int
    error: str = ""
    may_be_empty: bool = False

    @property
    def is_wrong(self) -> bool:
        return bool(self.error) or not (self.series or self.may_be_empty)


def expressions(path: Path) -> Iterator[Expression]:
    """Those of a dashboard's variables, then of its panels."""
    document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    for variable in document["templating"]["list"]:
        if variable["type"] == "query":
            selector, label = variable["query"].removeprefix("label_values(")[:-1].rsplit(", ", 1)
            yield Expression(path.stem, f"variable {variable['name']}", selector, label)
    for panel in document["panels"]:
        for target in panel.get("targets", ()):
            yield Expression(path.stem, panel["title"], target["expr"])


def verify(artifact: Path, folder: Path) -> list[Found]:
    """What is found in the dashboards, then in the rules, after a gateway for `artifact` has seen
    everything. Exports that lie in `folder / "exports"` already are not built."""
    from tests.services.conftest import running
    from tests.services.tracing.receiver import receiving

    store = RedisServer(folder / "redis")
    (folder / "gateway").mkdir()
    exports = ("--export-cache", str(folder / "exports"))
    with running_redis(store), receiving() as receiver:
        options = (*OPTIONS, *exports, "--store", store.url, "--trace-endpoint", receiver.endpoint)
        with (
            running(artifact, folder / "gateway", *options, within_s=START_WITHIN_S) as gateway,
            running_prometheus(
                folder / "prometheus", [f"127.0.0.1:{gateway.metrics_port}"], RULES
            ) as prometheus,
        ):
            began = time.time()
            Exercise(gateway, store, artifact).run()
            linted = _linted(gateway.http("/metrics"))
            asked, evaluated = _asked(prometheus, began), _evaluated(prometheus, began)
            return [*asked, *_exemplars(prometheus, began), *evaluated, linted]


def _asked(prometheus: PrometheusServer, began: float) -> Iterator[Found]:
    for path in DASHBOARDS:
        for one in expressions(path):
            expr = _filled(one.expr)
            try:
                if one.label:
                    series = len(prometheus.label_values(one.label, expr))
                else:
                    series = _with_values(prometheus.ranged(expr, began, time.time()))
            except ValueError as error:
                yield Found(one.dashboard, one.panel, one.expr, 0, str(error))
            else:
                yield Found(one.dashboard, one.panel, one.expr, series)


def _exemplars(prometheus: PrometheusServer, began: float) -> Iterator[Found]:
    """The dashboards draw them beside a histogram's lines."""
    for metric in WITH_EXEMPLARS:
        series = prometheus.exemplars(f"{metric}_bucket", began, time.time())
        yield Found("exemplars", metric, "query_exemplars", len(series))


def _evaluated(prometheus: PrometheusServer, began: float) -> Iterator[Found]:
    """An alert may find nothing: it is `promtool` that tests when it fires."""
    for rule in prometheus.rules():
        recorded = rule["type"] == "recording"
        expr = rule["name"] if recorded else rule["query"]
        series = _with_values(prometheus.ranged(expr, began, time.time()))
        error = "" if rule["health"] == "ok" else rule.get("lastError") or rule["health"]
        kind = "recording" if recorded else f"alert, {rule['state']}"
        yield Found(kind, rule["name"], rule["query"], series, error, may_be_empty=not recorded)


def _linted(metrics: str) -> Found:
    """What Prometheus' own linter says of everything that the gateway exposes."""
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=metrics, capture_output=True, text=True
    )
    said = " ".join((done.stdout + done.stderr).split())
    samples = sum(not line.startswith("#") for line in metrics.splitlines())
    return Found("gateway", "/metrics", "promtool check metrics", samples, said)


def _filled(expr: str) -> str:
    for name, value in _VALUES.items():
        expr = expr.replace(name, value)
    return expr


def _with_values(series: Sequence[Series]) -> int:
    """How many have at least one value that is a number."""
    return sum(any(math.isfinite(float(v)) for _, v in each["values"]) for each in series)


def show(found: Sequence[Found], console: Console) -> None:
    table = Table("dashboard or rule", "panel or name", "expression", title="What was found")
    table.add_column("series", justify="right")
    for each in found:
        series = f"[red]{each.error or 0}" if each.is_wrong else str(each.series)
        table.add_row(each.where, each.what, each.expr.replace("[", r"\["), series)
    console.print(table)
    wrong = sum(each.is_wrong for each in found)
    alerts = sum(each.may_be_empty for each in found)
    console.print(
        f"{len(found)} expressions, of them {alerts} alerts; {wrong} that fail or find nothing"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("artifact", type=Path, nargs="?", default=shipped.artifact_folder())
    artifact = parser.parse_args().artifact
    if MISSING:
        print(f"not on the PATH: {', '.join(MISSING)}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        found = verify(artifact, Path(folder))
    show(found, Console(width=None if sys.stdout.isatty() else 200))
    return 1 if any(each.is_wrong for each in found) else 0


if __name__ == "__main__":
    sys.exit(main())
