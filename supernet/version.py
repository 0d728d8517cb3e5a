"""Which version of the project this is."""

from __future__ import annotations


def version() -> str:
    """The installed version; `(not installed)` where the source is run as it lies."""
    from importlib import metadata  # slow to import, and rarely asked for

    try:
        return metadata.version("compofa")
    except metadata.PackageNotFoundError:
        return "(not installed)"
