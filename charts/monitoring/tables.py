"""Dashboard: latency tables, the store they come from, what clients report, and exports."""

from __future__ import annotations

from charts.monitoring import promql
from charts.monitoring.panels import Query, Row, lines, number, rows_of
from charts.monitoring.promql import CLASSES, TARGETS, gauge, mean, quantile, rate

TITLE = "compofa / tables and store"
DESCRIPTION = "Latency tables, the store they come from, what clients report, and exports."

_GATEWAY = "{{pod}} {{instance}}"
_REPORTED = "compofa_reported_to_table_latency_ratio"


def _of_class(metric: str, of: str = "max") -> Query:
    return Query(f"{of} by (device_class) ({gauge(metric, CLASSES)})")


ROWS = (
    Row("Now", (
        number("Gateways without the store", "none",
               "Those whose last look at the store failed: they serve by the last tables.",
               f"sum(1 - {gauge('compofa_store_up')})", warn=1, alarm=2),
        number("Longest without", "s", "Time since the store was last read.",
               f"max({gauge('compofa_store_staleness_seconds')})", warn=60, alarm=3600),
        number("Oldest table", "s", "Time since it was made.",
               f"max({gauge('compofa_latency_table_age_seconds', CLASSES)})",
               warn=90 * 86400, alarm=180 * 86400),
        number("Refused", "none", "Device classes whose current table is refused; the last "
               "good one serves on.",
               f"count({gauge('compofa_latency_table_refused', CLASSES)} == 1) or vector(0)",
               warn=1, alarm=2),
        number("Lost", "none", "Device classes whose table the store has lost.",
               f"count({gauge('compofa_latency_table_lost', CLASSES)} == 1) or vector(0)",
               warn=1, alarm=2),
        number("Out of step", "none", "Device classes that gateways serve by different "
               "versions of a table.",
               "count(max by (device_class) (" + gauge("compofa_latency_table_version", CLASSES)
               + ") != min by (device_class) ("
               + gauge("compofa_latency_table_version", CLASSES) + ")) or vector(0)",
               warn=1, alarm=2),
    )),
    Row("Store", (
        lines("Reachable", "bool_yes_no", "Whether each gateway's last look at the store went "
              "well.", Query(gauge("compofa_store_up"), _GATEWAY), most=1.0),
        lines("Staleness", "s", "Time since each gateway last read the store.",
              Query(gauge("compofa_store_staleness_seconds"), _GATEWAY),
              warn=60, alarm=3600),
    )),
    Row("Tables", (
        lines("Age", "s", "Time since each device class's table was made.",
              _of_class("compofa_latency_table_age_seconds")),
        lines("Version", "none", "In the store; 0 came with the artifact.",
              _of_class("compofa_latency_table_version")),
        rows_of("Refused tables", "none", "Why, and by how many gateways.",
                "sum by (device_class, reason) "
                f"({gauge('compofa_latency_table_refused', CLASSES)})"),
        rows_of("Lost tables", "none", "By how many gateways.",
                f"sum by (device_class) ({gauge('compofa_latency_table_lost', CLASSES)})"),
    )),
    Row("Reports and learning", (
        lines("Reports", "ops", "Latencies that clients report, a second: taken, or why not.",
              Query(rate("compofa_latency_reports_total", "outcome"), "{{outcome}}")),
        lines("Reported ÷ table", "short",
              "Of the reports taken: the mean, and the median.",
              Query(mean(_REPORTED), "{{device_class}}, mean"),
              Query(quantile(0.5, _REPORTED), "{{device_class}}, median")),
        lines("Drift", "short",
              "Reported latency divided by the table's, where enough clients have reported: "
              "1 is a table that is right.", _of_class("compofa_latency_drift_ratio")),
        lines("Clients", "none", "Whose reports count, within the window.",
              _of_class("compofa_latency_report_clients", "sum")),
        lines("Versions learned", "none",
              "Tables that these gateways have published since they started.",
              _of_class("compofa_latency_tables_learned_total", "sum")),
        lines("Series kept", "none", "Subnets of clients that reports are kept of; bounded.",
              Query(gauge("compofa_latency_report_series"), _GATEWAY)),
    )),
    Row("Exports", (
        lines("Fetches", "reqps", "Exports asked for, a second, by how they end.",
              Query(rate("compofa_fetches_total", "format, code"), "{{format}}, {{code}}")),
        lines("Time to fetch", "s", "Until the last byte: mean, whatever the status.",
              Query(mean("compofa_fetch_seconds", "format", TARGETS), "{{format}}")),
        lines("Sent", "Bps", "Bytes of exports a second.",
              Query(rate("compofa_fetch_bytes_total", "format", TARGETS), "{{format}}")),
        lines("Open", "none", "Fetches that wait or are being sent.",
              Query(gauge("compofa_fetches_open"), _GATEWAY)),
        lines("Builds", "none", "Over the whole time shown, by how they end.",
              Query(promql.grown("compofa_export_builds_total", "format, outcome"),
                    "{{format}}, {{outcome}}")),
        lines("Time to build", "s", "Of those that were built: the mean since the start.",
              Query("sum by (format) (" + gauge("compofa_export_build_seconds_sum") + ") / "
                    "sum by (format) (" + gauge("compofa_export_build_seconds_count") + ")",
                    "{{format}}")),
        lines("Cache", "bytes", "Exports in the cache folder, of all gateways that share it.",
              Query(gauge("compofa_export_cache_bytes"), _GATEWAY)),
    )),
)  # fmt: skip
