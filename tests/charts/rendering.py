"""The chart as Helm renders it, for tests and `verify.py`: no cluster is needed, and none asked."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.charts import helm

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "compofa-gateway"
RELEASE, NAMESPACE = "demo", "nets"
KUBERNETES = ("1.29", "1.30", "1.31", "1.32", "1.33", "1.34")
IMAGE_VOLUMES_SINCE = "1.31"

Object = dict[str, Any]

CLAIM: Object = {
    "image": {"repository": "registry.test/compofa"},
    "artifact": {"existingClaim": "nets"},
}
"""The least that must be said."""


def scenario_files() -> dict[str, Path]:
    """The files of values in `ci/`, by what they are called."""
    files = sorted((CHART / "ci").glob("*-values.yaml"))
    return {file.name.removesuffix("-values.yaml"): file for file in files}


def scenario(name: str) -> Object:
    values: Object = yaml.safe_load(scenario_files()[name].read_text())
    return values


def fits(name: str, version: str) -> bool:
    """Whether a scenario is one that Kubernetes of this version can run."""
    image = scenario(name)["artifact"].get("image")
    return not image or KUBERNETES.index(version) >= KUBERNETES.index(IMAGE_VOLUMES_SINCE)


class _EachKeyOnce(yaml.SafeLoader):
    """Refuses what YAML forbids and PyYAML reads all the same, as the last of both."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise ValueError(f"rendered twice: {sorted(twice)}")
        return super().construct_mapping(node, deep)


def render(
    values: Object,
    version: str = KUBERNETES[-1],
    chart: Path = CHART,
    release: str = RELEASE,
) -> list[Object]:
    """All that is rendered for a release, but the notes. Raises `helm.HelmError`."""
    told = values | {"kubeVersionOverride": f"{version}.0"}
    files = helm.render(chart, told, release, NAMESPACE)
    manifests = "\n---\n".join(text for path, text in files.items() if path.endswith(".yaml"))
    return documents(manifests)


def documents(manifests: str) -> list[Object]:
    """The objects in manifests. Raises `ValueError` where one has a key twice."""
    return [document for document in yaml.load_all(manifests, _EachKeyOnce) if document]


def notes(values: Object) -> str:
    files = helm.render(CHART, values, RELEASE, NAMESPACE)
    return files["compofa-gateway/templates/NOTES.txt"]


def find(rendered: list[Object], kind: str, suffix: str = "") -> Object:
    """The one document of a kind whose name is the release's full name and this suffix."""
    name = f"{RELEASE}-compofa-gateway{suffix}"
    (found,) = (d for d in rendered if d["kind"] == kind and d["metadata"]["name"] == name)
    return found


def kinds(rendered: list[Object]) -> set[str]:
    return {document["kind"] for document in rendered}


def pod(rendered: list[Object]) -> Object:
    """The gateway's."""
    spec: Object = find(rendered, "Deployment")["spec"]["template"]["spec"]
    return spec


def container(rendered: list[Object]) -> Object:
    """The gateway's."""
    (only,) = pod(rendered)["containers"]
    assert isinstance(only, dict)
    return only


def pod_templates(value: object) -> Iterator[Object]:
    """Every pod's metadata and spec, however deep a document, a custom one too, holds it."""
    if isinstance(value, dict):
        spec = value.get("spec")
        if isinstance(spec, dict) and "containers" in spec:
            yield value
        else:
            for inner in value.values():
                yield from pod_templates(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from pod_templates(inner)
