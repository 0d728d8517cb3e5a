"""Labels of one's own beside the chart's. That no key is rendered twice `rendering.py` checks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.charts.rendering import CLAIM, Object, documents, find, pod_templates, render

THEIRS = {"team": "vision", "app.kubernetes.io/component": "theirs", "helm.sh/chart": "theirs",
          "app.kubernetes.io/instance": "theirs", "app.kubernetes.io/name": "1"}  # fmt: skip
ALL: Object = CLAIM | {
    "podLabels": THEIRS,
    "serviceMonitor": {"enabled": True, "labels": THEIRS},
    "prometheusRule": {"enabled": True, "labels": THEIRS},
    "dashboards": {"enabled": True, "labels": THEIRS},
    "training": {"enabled": True, "dataClaim": "images", "labels": THEIRS},
}


def train(rendered: list[Object]) -> Object:
    (job,) = (document for document in rendered if document["kind"] == "Job")
    return job


PLACES: dict[str, Callable[[list[Object]], Object]] = {
    "pod": lambda rendered: find(rendered, "Deployment")["spec"]["template"]["metadata"],
    "monitor": lambda rendered: find(rendered, "ServiceMonitor")["metadata"],
    "rule": lambda rendered: find(rendered, "PrometheusRule")["metadata"],
    "dashboard": lambda rendered: find(rendered, "ConfigMap", "-serving")["metadata"],
    "run": lambda rendered: train(rendered)["metadata"],
    "pod of a run": lambda rendered: train(rendered)["spec"]["template"]["metadata"],
}


@pytest.mark.parametrize("place", PLACES)
def test_one_s_own_labels_are_there_and_take_none_of_the_chart_s_place(place: str) -> None:
    labels = PLACES[place](render(ALL))["labels"]
    assert labels["team"] == "vision"
    component = "training" if "run" in place else "gateway"
    assert labels["app.kubernetes.io/component"] == component
    assert labels["app.kubernetes.io/instance"] == "demo"
    assert labels["app.kubernetes.io/name"] == "compofa-gateway"


def test_selectors_take_the_pods_whatever_their_labels() -> None:
    rendered = render(ALL)
    selector = find(rendered, "Deployment")["spec"]["selector"]["matchLabels"]
    taken = [
        template["metadata"]["labels"]
        for template in pod_templates(rendered)
        if selector.items() <= template["metadata"]["labels"].items()
    ]
    assert len(taken) == 1


def test_labels_may_be_none() -> None:
    none: Object = {
        "podLabels": None,
        "podAnnotations": None,
        "serviceMonitor": {"enabled": True, "labels": None},
        "prometheusRule": {"enabled": True, "labels": None},
        "dashboards": {"enabled": True, "labels": None},
    }
    assert render(CLAIM | none)


def test_a_key_that_is_rendered_twice_is_found() -> None:
    """The check can say no."""
    with pytest.raises(ValueError, match=r"rendered twice: \['a'\]"):
        documents("b: {c: {a: 1, d: 2, a: 1}}")
