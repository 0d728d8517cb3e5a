"""The chart as a whole: lint, and scenarios against schemas."""

from __future__ import annotations

import json
import tomllib

import jsonschema
import pytest
import yaml

from tests.charts import helm, rendering
from tests.charts.rendering import CHART, CLAIM, KUBERNETES, ROOT, Object, kinds, render
from tests.charts.validation import is_custom, problems

# All versions are `make verify-chart`'s; between the two nothing that is used has come and gone.
OLDEST, NEWEST = KUBERNETES[0], KUBERNETES[-1]


@pytest.mark.parametrize("name", rendering.scenario_files())
def test_lint_finds_only_that_there_is_no_icon(name: str) -> None:
    report = helm.lint(CHART, rendering.scenario(name))
    assert [message["error"] for message in report["messages"]] == ["icon is recommended"]
    assert report["errors"] == []


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("name", rendering.scenario_files())
def test_a_scenario_is_what_kubernetes_takes(name: str, version: str) -> None:
    if not rendering.fits(name, version):
        with pytest.raises(helm.HelmError, match=r"expected Kubernetes 1\.31"):
            render(rendering.scenario(name), version)
        return
    rendered = render(rendering.scenario(name), version)
    assert [p for document in rendered for p in problems(document, version)] == []
    names = [(d["apiVersion"], d["kind"], d["metadata"]["name"]) for d in rendered]
    assert len(set(names)) == len(names)
    assert {d["metadata"]["namespace"] for d in rendered} == {"nets"}


def test_the_scenarios_render_every_kind_there_is_a_template_for() -> None:
    rendered = [d for name in rendering.scenario_files() for d in render(rendering.scenario(name))]
    in_templates = {
        line.removeprefix("kind: ").strip()
        for file in (CHART / "templates").rglob("*.yaml")
        for line in file.read_text().splitlines()
        if line.startswith("kind: ")
    }
    assert kinds(rendered) == in_templates - _without_files()
    schemas = {"JobSet", "PrometheusRule", "PyTorchJob", "ScaledObject", "ServiceMonitor"}
    assert {d["kind"] for d in rendered if is_custom(d)} == schemas - _without_files()


def _without_files() -> set[str]:
    """What needs files that may come with another change."""
    return set() if list(CHART.glob("rules/*.yaml")) else {"PrometheusRule"}


def test_a_mistake_in_a_pod_of_a_custom_resource_is_found() -> None:
    """The schemas can say no."""
    (job,) = (d for d in render(rendering.scenario("training-jobset")) if d["kind"] == "JobSet")
    assert problems(job, NEWEST) == []
    broken = json.loads(json.dumps(job).replace('"claimName"', '"claim"'))
    assert "claim" in "".join(problems(broken, NEWEST))
    broken = json.loads(json.dumps(job).replace('"maxRestarts"', '"maxRestart"'))
    assert "maxRestart" in "".join(problems(broken, NEWEST))


def test_the_least_that_can_be_said_renders_nothing_optional() -> None:
    assert kinds(render(CLAIM)) == {
        "Deployment", "Service", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy"
    }  # fmt: skip


def test_the_image_is_of_the_package_s_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == version


def test_the_schema_names_every_value_and_no_other() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema["properties"].pop("global")  # Helm's own
    assert sorted(_leaves(schema)) == sorted(_leaves_of_values(values, schema))


def _leaves(schema: Object, path: str = "") -> list[str]:
    """Every value that the schema describes field by field."""
    if "properties" not in schema:
        return [path]
    return [
        leaf
        for name, inner in schema["properties"].items()
        for leaf in _leaves(inner, f"{path}.{name}")
    ]


def _leaves_of_values(values: object, schema: Object, path: str = "") -> list[str]:
    """Every value there is, as deep as the schema goes."""
    if "properties" not in schema or not isinstance(values, dict):
        return [path]
    return [
        leaf
        for name, inner in values.items()
        for leaf in _leaves_of_values(inner, schema["properties"].get(name, {}), f"{path}.{name}")
    ]
