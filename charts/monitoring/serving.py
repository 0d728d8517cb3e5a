"""Dashboard: whether each device class is answered, in time."""

from __future__ import annotations

from charts.monitoring import promql
from charts.monitoring.panels import Panel, Query, Row, heat, lines, number
from charts.monitoring.promql import CLASSES, mean, quantile, rate
from charts.monitoring.recording import FAILED, INFERENCE, LATE, burn

TITLE = "compofa / serving by device class"
DESCRIPTION = "Requests, latency and what is left of each objective, by the caller's device class."

_INFERENCE = f"{CLASSES}, {INFERENCE}"
_COUNTED = f"OK|{LATE}|{FAILED}"


def _codes(codes: str, by: str) -> str:
    select = f'{_INFERENCE}, code=~"{codes}"'
    return promql.rate("compofa_requests_total", by, select)


def _share(codes: str, of: str) -> str:
    """In the whole selection; 0 where none ended so."""
    counted = _codes(of, "job")
    return f"sum({_codes(codes, 'job')} or 0 * {counted}) / sum({counted})"


def _burn(objective: str, window: str) -> Query:
    recorded = burn(objective, window)
    return Query(
        f"max by (device_class) ({recorded}{{{CLASSES}}})", f"{{{{device_class}}}}, {window}"
    )


def _burns(title: str, objective: str, description: str) -> Panel:
    return lines(
        title, "short", description, *(_burn(objective, window) for window in ("5m", "1h", "6h")),
        width=8, warn=1.0, alarm=6.0,
    )  # fmt: skip


ROWS = (
    Row("Now", (
        number("Requests", "reqps", "Inference requests a second, however they end.",
               f"sum({_codes('.+', 'job')})"),
        number("Answered", "percentunit",
               "Share of the requests that were answered or late, not failed or turned away. "
               "What a caller got wrong does not count.",
               f"1 - ({_share(FAILED, _COUNTED)})", warn=0.999, alarm=0.99, most=1.0),
        number("In time", "percentunit",
               "Share of the requests answered or late that were answered.",
               f"1 - ({_share(LATE, f'OK|{LATE}')})",
               warn=0.99, alarm=0.95, most=1.0),
        number("p99", "s", "Time that 99 of 100 requests take, whatever their status.",
               quantile(0.99, "compofa_request_seconds", "job")),
        number("Turned away", "reqps", "Requests a second that found the queue full.",
               f"sum({rate('compofa_shed_total')})"),
        number("Queue", "percentunit", "Requests queued or running, of the most there may be.",
               f"max({promql.gauge('compofa_queue_depth')} / "
               f"{promql.gauge('compofa_queue_limit')})", warn=0.5, alarm=0.8, most=1.0),
    )),
    Row("Objectives: 1 spends the budget exactly, 14.4 pages", (
        _burns("Availability: burn rate", "availability",
               "How fast failed and refused requests spend what the objective allows: 1 "
               "spends exactly that over the month."),
        _burns("Deadlines: burn rate", "deadlines",
               "How fast late requests spend what the objective allows."),
        _burns("Accuracy: burn rate", "accuracy",
               "How fast answers that gave up more than a point of accuracy spend what the "
               "objective allows."),
    )),
    Row("By device class", (
        lines("Requests by class", "reqps", "Inference requests a second.",
              _codes(".+", "device_class")),
        lines("How they end", "reqps", "By gRPC status; docs/errors.md says what each means.",
              Query(_codes(".+", "code"), "{{code}}")),
        lines("Deadlines missed", "reqps", "Requests a second that ended in DEADLINE_EXCEEDED.",
              rate("compofa_deadlines_missed_total")),
        lines("Turned away by class", "reqps", "Requests a second that found the queue full.",
              rate("compofa_shed_total")),
    )),
    Row("Latency", (
        lines("Request", "s", "From arrival to answer, whatever the status.",
              *(Query(quantile(q, "compofa_request_seconds"), f"{{{{device_class}}}}, p{n}")
                for q, n in ((0.5, 50), (0.99, 99)))),
        heat("Request: all of them", "s", "How many requests a second took how long.",
             promql.buckets("compofa_request_seconds")),
        lines("Waiting", "s", "Time in the queue, of answered requests: the 99th of 100.",
              quantile(0.99, "compofa_queue_seconds")),
        lines("Computing", "s", "Time in the engine, of answered requests: mean and the 99th "
              "of 100.",
              Query(mean("compofa_compute_seconds"), "{{device_class}}, mean"),
              Query(quantile(0.99, "compofa_compute_seconds"), "{{device_class}}, p99")),
    )),
)  # fmt: skip
