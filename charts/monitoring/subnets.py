"""Dashboard: which subnets answer, and how much accuracy load takes."""

from __future__ import annotations

from charts.monitoring import promql
from charts.monitoring.panels import Query, Row, heat, lines, number, rows_of
from charts.monitoring.promql import CLASSES, mean, quantile, rate

TITLE = "compofa / subnets and accuracy"
DESCRIPTION = "Which subnets answer, how accurate they are, and what load and deadlines take away."

_ANSWERS = rate("compofa_delivered_accuracy_count")
_GIVEN_UP = "compofa_accuracy_given_up"
_RATIO = "compofa_predicted_to_measured_latency_ratio"
_BY_SUBNET = promql.grown("compofa_subnets_selected_total", "device_class, subnet", CLASSES)
_WITHIN = rate(f"{_GIVEN_UP}_bucket", select=f'{CLASSES}, le="0.01"')


ROWS = (
    Row("Now", (
        number("Delivered accuracy", "percentunit",
               "Expected top-1 accuracy of the answers, their mean.",
               mean("compofa_delivered_accuracy", "job"), most=1.0, width=6),
        number("Accuracy given up", "percentunit",
               "Accuracy that load and deadlines take from an answer, the mean over all.",
               mean(_GIVEN_UP, "job"), warn=0.005, alarm=0.01, width=6),
        number("Share degraded", "percentunit",
               "Share of the answers by a smaller subnet than an idle gateway would take.",
               f"sum({rate('compofa_degraded_total')}) / sum({_ANSWERS})", width=6, most=1.0),
        number("Subnets in use", "none", "Different subnets that have answered lately.",
               "count(count by (subnet) (" + rate("compofa_subnets_selected_total", "subnet")
               + " > 0))", width=6),
    )),
    Row("Accuracy", (
        lines("Delivered", "percentunit", "Expected top-1 accuracy of the answers, their mean.",
              mean("compofa_delivered_accuracy"), most=1.0),
        lines("Given up", "percentunit",
              "Accuracy that load and deadlines take from an answer: the mean over five "
              "minutes, as alerts and autoscaling see it, and the 99th of 100 answers.",
              Query("max by (device_class) (device_class:compofa_accuracy_given_up:mean5m"
                    f"{{{CLASSES}}})", "{{device_class}}, mean"),
              Query(quantile(0.99, _GIVEN_UP), "{{device_class}}, p99"),
              warn=0.005, alarm=0.01),
        lines("Answers that gave up more than a point", "percentunit",
              "Share of the answers that are more than 0.01 below what an idle gateway would "
              "deliver: what the objective counts.",
              f"1 - {_WITHIN} / {rate(f'{_GIVEN_UP}_count')}", most=1.0),
        heat("Given up: all answers", "percentunit",
             "How many answers a second gave up how much.", promql.buckets(_GIVEN_UP)),
        lines("Degraded", "percentunit",
              "Share of the answers by a smaller subnet than an idle gateway would take.",
              f"{rate('compofa_degraded_total')} / {_ANSWERS}", most=1.0),
        lines("Answers", "reqps", "Answers a second, of one image or more.", _ANSWERS),
    )),
    Row("Subnets", (
        lines("The ten that answer most", "reqps", "Answers a second by subnet.",
              Query(f"topk(10, {rate('compofa_subnets_selected_total', 'subnet')})",
                    "{{subnet}}")),
        rows_of("Answers by subnet, over the whole time shown", "short",
                "How many answers each subnet has made for each device class.",
                f"sort_desc({_BY_SUBNET})"),
    )),
    Row("Prediction", (
        lines("Predicted ÷ measured", "short",
              "Latency in the class's table divided by the engine's time, where one image ran "
              "alone. Near 1 where the class is the gateway's own machine, and some other "
              "constant elsewhere: it is a change that matters.",
              Query(mean(_RATIO), "{{device_class}}, mean"),
              Query(quantile(0.5, _RATIO), "{{device_class}}, median")),
        lines("Predicted ÷ measured, an hour and a day", "short",
              "What the alert on drift compares.",
              *(Query("max by (device_class) (device_class:compofa_predicted_to_measured:"
                      f"mean{window}{{{CLASSES}}})", f"{{{{device_class}}}}, {window}")
                for window in ("1h", "1d"))),
    )),
)  # fmt: skip
