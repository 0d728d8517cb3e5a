"""What a policy scan of rendered pods may find, and why; all else fails."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.charts import programs
from tests.charts.rendering import Object, pod_templates
from tests.charts.validation import is_custom

ACCEPTED = {
    "CKV_K8S_11": "no CPU limit by default: a throttled gateway misses deadlines",
    "CKV_K8S_15": "IfNotPresent by default: tags are versions, and image.digest pins them",
    "CKV_K8S_35": "the store's URL and the headers for traces are variables from Secrets",
    "CKV_K8S_43": "image.digest is there for it; no digest is known before you build",
}
IMAGE_ACCEPTED = {
    "CKV_DOCKER_2": "probes ask; and the same image trains, where nothing listens",
    "CKV_DOCKER_7": "checkov does not read the default of a build's ARG; tests/image do",
}
"""Checkov tells severities only to who has its vendor's key, so that whatever is not named here
counts as high."""


def scan(rendered: dict[str, list[Object]], folder: Path) -> tuple[str, dict[str, list[str]]]:
    """Checkov's version, and the ids of all its findings by scenario. Writes into `folder`."""
    for name, documents in rendered.items():
        texts = [yaml.safe_dump(document) for document in [*documents, *_pods(documents)]]
        (folder / f"{name}.yaml").write_text("---\n".join(texts))
    version, found = programs.checkov("kubernetes", folder)
    by_scenario: dict[str, list[str]] = {name: [] for name in rendered}
    for finding in found:
        by_scenario[Path(finding["file_path"]).stem].append(finding["check_id"])
    return version, by_scenario


def _pods(documents: list[Object]) -> list[Object]:
    """The pods of custom resources, which no scanner looks into, as of Jobs."""
    return [
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": f"{document['metadata']['name']}-{number}",
                "namespace": document["metadata"]["namespace"],
            },
            "spec": {"template": template},
        }
        for document in documents
        if is_custom(document)
        for number, template in enumerate(pod_templates(document))
    ]
