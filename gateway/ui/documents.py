"""What the live page is told, as JSON documents. Knows neither HTTP nor who looks.

Latencies are in milliseconds, accuracies from 0 to 1.
"""

from __future__ import annotations

from gateway.calls import Call
from gateway.errors import GatewayError
from gateway.pipeline import DeviceClassInfo, Pipeline
from gateway.request import Constraints

MOST_CLASSES = 64
"""That are shown and asked; the page says how many are not."""

Document = dict[str, object]


def net(pipeline: Pipeline, max_image_bytes: int, cannot_ask: str | None) -> Document:
    """What is served, and why it cannot be asked with an image, if so."""
    manifest = pipeline.manifest
    inputs = manifest.design_space.skeleton.inputs
    if inputs.kind != "image":
        cannot_ask = f"This net reads {inputs.kind}, not images: ask it over gRPC."
    return {
        "name": manifest.name,
        "artifact_hash": manifest.artifact_hash,
        "subnets": len(manifest.catalog),
        "max_image_bytes": max_image_bytes,
        "cannot_ask": cannot_ask,
    }


def device_classes(pipeline: Pipeline) -> Document:
    """The first `MOST_CLASSES` by name, and how many more there are."""
    infos = pipeline.device_classes()
    return {
        "classes": [_device_class(pipeline, info) for info in infos[:MOST_CLASSES]],
        "other_classes": len(infos[MOST_CLASSES:]),
    }


def _device_class(pipeline: Pipeline, info: DeviceClassInfo) -> Document:
    """`frontier` has what nothing beats as (subnet, latency, accuracy), fastest first; `idle` what
    an idle gateway chooses for a caller who asks for nothing in particular."""
    document: Document = {
        "name": info.name,
        "aliases": info.aliases,
        "default_budget_ms": info.default_budget_ms,
        "measured": info.measured,
        "kind": info.kind,
        "source": info.source,
        "version": info.version,
        "subnets": info.subnets,
        "frontier": [],
        "idle": None,
        "error": None,
    }
    try:
        frontier = pipeline.candidates(info.name).frontier
        document["frontier"] = [(c.subnet, c.latency_ms, c.accuracy) for c in frontier]
        chosen = pipeline.select(Constraints(info.name))
        document["idle"] = (chosen.subnet, chosen.latency_ms, chosen.accuracy)
    except GatewayError as error:  # nothing fits the default budget, or the class has just gone
        document["error"] = error.safe_message
    return document


def answer(call: Call, labels: tuple[str, ...]) -> Document:
    """What an image was answered with for one device class, or why it was not."""
    if call.answer is None:
        return {"device_class": call.device_class, "code": call.code, "error": call.error}
    given, chosen = call.answer, call.answer.selection
    return {
        "device_class": call.device_class,
        "code": call.code,
        "subnet": chosen.subnet,
        "label": labels[given.classes[0]],
        "accuracy": chosen.accuracy,
        "predicted_ms": chosen.latency_ms,
        "compute_ms": given.compute_ms,
        "queue_ms": given.queue_ms,
        "batch": given.batch,
        "degraded": chosen.degraded,
    }
