"""Rendered documents against schemas: Kubernetes's own, and ours for custom resources.

`schemas/` holds one file a custom kind, with the fields that the chart may write and no others,
from what the operators document. The pods inside are checked as Kubernetes's own.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import jsonschema
import kubernetes_validate

from tests.charts.rendering import Object, pod_templates

SCHEMAS = Path(__file__).parent / "schemas"


def problems(document: Object, version: str) -> list[str]:
    """What a schema of this version of Kubernetes, or ours, finds wrong; unknown fields too."""
    found = _problem(json.dumps(document, sort_keys=True), version)
    return [f"{_name(document)}: {found}"] if found else []


def is_custom(document: Object) -> bool:
    return _schema_file(document).exists()


def _name(document: Object) -> str:
    return f"{document['kind']} {document['metadata']['name']}"


def _schema_file(document: Object) -> Path:
    return SCHEMAS / f"{document['kind'].lower()}.json"


@functools.cache  # most of what two scenarios render is the same
def _problem(text: str, version: str) -> str:
    document: Object = json.loads(text)
    try:
        if is_custom(document):
            _check_custom(document, version)
        else:
            kubernetes_validate.validate(document, version, strict=True)
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
        return f"{'.'.join(map(str, error.path))}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError as error:
        return str(error.message)
    return ""


def _check_custom(document: Object, version: str) -> None:
    schema = json.loads(_schema_file(document).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(document)
    for template in pod_templates(document["spec"]):
        metadata = {"name": "checked", **template["metadata"]}
        pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": metadata}
        kubernetes_validate.validate(pod, version, strict=True)
