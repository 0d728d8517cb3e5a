"""TorchServe's handler for `subnet_file`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from subnet_file import SubnetFile

_subnet: SubnetFile | None = None


def handle(rows: list[Mapping[str, Any]], _context: object) -> list[bytes]:
    """A batch of requests; none when a worker starts."""
    global _subnet
    if _subnet is None:
        _subnet = SubnetFile()
    return _subnet([bytes(row["data"]) for row in rows]) if rows else []
