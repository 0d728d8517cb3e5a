"""The files that the live page is made of, as they ship with the package."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

_TYPES = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}
PAGE = "page.html"
NAMES = (
    PAGE,
    "page.css",
    "page.js",
    "answers.js",
    "asking.js",
    "charts.js",
    "classes.js",
    "dom.js",
    "feed.js",
    "scales.js",
    "icon.svg",
)


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, with the type that a browser has to know it by."""

    content: bytes
    content_type: str


def read_assets() -> dict[str, Asset]:
    """By name. They are few and small, and stay in memory."""
    folder = files(__package__)
    return {
        name: Asset((folder / name).read_bytes(), _TYPES[name.rpartition(".")[2]]) for name in NAMES
    }
