"""Dashboard: the queue, batches, the engine, and the process around them."""

from __future__ import annotations

from charts.monitoring.panels import Query, Row, heat, lines, number, rows_of
from charts.monitoring.promql import BY_TARGET, TARGETS, buckets, gauge, mean, quantile, rate

TITLE = "compofa / scheduler and engine"
DESCRIPTION = "The queue, batches, the engine, and the process around them, by gateway."

_GATEWAY = "{{pod}} {{instance}}"
_BATCH = "compofa_batch_size"


def _process(name: str) -> str:
    """Of the gateways' own processes: others have metrics of these names too."""
    ours = f"on (namespace, job, instance) group_left () compofa_build_info{{{TARGETS}}}"
    return f"process_{name}{{{TARGETS}}} * {ours}"


ROWS = (
    Row("Now", (
        number("Gateways", "none", "That Prometheus can read.",
               f"count(compofa_build_info{{{TARGETS}}})"),
        number("Fullest queue", "percentunit",
               "Requests queued or running, of the most there may be.",
               f"max({gauge('compofa_queue_depth')} / {gauge('compofa_queue_limit')})",
               warn=0.5, alarm=0.8, most=1.0),
        number("Batch", "none", "Images that run together, the mean as an answer sees it.",
               mean(_BATCH, "job")),
        number("Latest loop", "s", "How late the event loop comes to its work: p99.",
               quantile(0.99, "compofa_event_loop_lag_seconds", "job", TARGETS),
               warn=0.1, alarm=1.0),
        number("Workers replaced", "none", "Engine workers that have failed since the start.",
               f"sum({gauge('compofa_worker_failures_total')})", warn=1, alarm=3),
        number("Not compiled", "none", "Subnets that could not be compiled whole, and are "
               "served in pieces.", f"sum({gauge('compofa_compile_failures_total')})",
               warn=1, alarm=10),
    )),
    Row("Scheduler", (
        lines("Queue", "none", "Requests queued or running, and the most there may be.",
              Query(gauge("compofa_queue_depth"), _GATEWAY),
              Query(f"min({gauge('compofa_queue_limit')})", "limit")),
        lines("Waiting", "s", "Time in the queue of answered requests: the median and the "
              "99th of 100.",
              *(Query(quantile(q, "compofa_queue_seconds", "job"), f"p{n}")
                for q, n in ((0.5, 50), (0.99, 99)))),
        lines("Batch size", "none", "Images that run together, as an answer sees it.",
              Query(mean(_BATCH), "{{device_class}}, mean"),
              Query(quantile(0.95, _BATCH), "{{device_class}}, p95")),
        heat("Batch size: all answers", "none", "How many answers a second came of batches of "
             "which size.", buckets(_BATCH)),
    )),
    Row("Engine", (
        lines("A run", "s", "Time in the engine, of answered requests.",
              *(Query(quantile(q, "compofa_compute_seconds", "job"), f"p{n}")
                for q, n in ((0.5, 50), (0.99, 99)))),
        lines("Unsteadiness", "none", "By how much batches miss what is expected of them, as a "
              "standard deviation of the logarithm, learned between 0.1 and 0.5. The larger, the "
              "more time is left to each, and the less accurate the answers.",
              Query(gauge("compofa_run_spread"), _GATEWAY)),
        lines("Memory of weights", "bytes", "Of the pieces, and of the subnets compiled whole.",
              Query(gauge("compofa_resident_bytes"), _GATEWAY)),
        lines("Subnets compiled whole", "none", "The hottest ones, within the bound on memory.",
              Query(gauge("compofa_whole_subnets"), _GATEWAY)),
        lines("Failures", "ops", "Workers that were replaced, batches whose requests were then "
              "run one by one, and subnets that could not be compiled, a second.",
              Query(rate("compofa_worker_failures_total", BY_TARGET, TARGETS),
                    f"{_GATEWAY}, worker"),
              Query(rate("compofa_failed_batches_total", BY_TARGET, TARGETS),
                    f"{_GATEWAY}, batch"),
              Query(rate("compofa_compile_failures_total", BY_TARGET, TARGETS),
                    f"{_GATEWAY}, compilation")),
    )),
    Row("Process", (
        lines("Event loop", "s", "How late it comes to its work: the 99th of 100. Above a "
              "second a gateway says that it is not ready.",
              Query(quantile(0.99, "compofa_event_loop_lag_seconds", BY_TARGET, TARGETS),
                    _GATEWAY), warn=0.1, alarm=1.0),
        lines("Processor", "short", "Cores in use.",
              Query(f"rate(process_cpu_seconds_total{{{TARGETS}}}[$__rate_interval])"
                    " * on (namespace, job, instance) group_left () "
                    f"compofa_build_info{{{TARGETS}}}", _GATEWAY),
              Query(rate("compofa_worker_cpu_seconds_total", f"{BY_TARGET}, worker", TARGETS),
                    f"{_GATEWAY}, worker {{{{worker}}}}")),
        lines("Memory", "bytes", "Of the gateway's own process, and of its workers'; pages that "
              "they share count in each.",
              Query(_process("resident_memory_bytes"), _GATEWAY),
              Query(gauge("compofa_worker_resident_memory_bytes"),
                    f"{_GATEWAY}, worker {{{{worker}}}}")),
        lines("File descriptors", "percentunit", "In use, of the most there may be.",
              Query(f"({_process('open_fds')}) / ({_process('max_fds')})", _GATEWAY),
              warn=0.6, alarm=0.8, most=1.0),
        rows_of("What runs", "none", "Version and artifact of each gateway. More than one "
                "hash outside a rollout means that answers differ.",
                f"compofa_build_info{{{TARGETS}}}", width=24),
    )),
)  # fmt: skip
