"""A measured latency table as a document, and how it gets into a file."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from .plan import Measured


def table_document(
    measured: Measured, device_class: str, artifact_hash: str, conditions: dict[str, str]
) -> dict[str, Any]:
    """The fields of a latency table. Of `conditions`, the source names processor, threads and
    engine."""
    how = "measured by pieces" if measured.check else "measured"
    threads = conditions["threads"] + (" thread" if conditions["threads"] == "1" else " threads")
    where = conditions["processor"], threads, conditions["engine"].partition(" ")[0]
    return {
        "device_class": device_class,
        "artifact_hash": artifact_hash,
        "source": f"{how}: {', '.join(where)}",
        "measured": True,
        "latency_ms": dict(sorted(measured.latency_ms.items())),
        "p95_ms": dict(sorted(measured.p95_ms.items())),
        "std_ms": dict(sorted(measured.std_ms.items())),
        "conditions": {**conditions, **measured.conditions},
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def write_table(path: Path, document: dict[str, Any]) -> None:
    """Write beside `path`, through to the disk, then rename: it is there whole or as it was.

    A link stays, and what it leads to is replaced; a device or pipe is written into.
    """
    text = json.dumps(document, indent=1) + "\n"
    if path.exists() and not path.is_file():
        path.write_text(text, "utf-8")
        return
    path = path.resolve()
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        if partial.exists():
            partial.unlink()
