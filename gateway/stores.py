"""Which store of latency tables is meant: the embedded one by default, or one by its URL."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs

from gateway.device_classes import DeviceClasses
from gateway.embedded_store import EmbeddedStore
from gateway.tables import TableStore
from supernet.latency import read_bundled_tables
from supernet.manifest import Manifest

STATE_DIR_VARIABLE = "COMPOFA_STATE_DIR"
STORE_FILE = "tables.sqlite3"


def default_path() -> Path:
    """The embedded store's file in the user's state folder, or in `COMPOFA_STATE_DIR`."""
    folder = os.environ.get(STATE_DIR_VARIABLE) or platformdirs.user_state_dir("compofa")
    return Path(folder) / STORE_FILE


def default_store() -> EmbeddedStore:
    return EmbeddedStore(default_path())


def open_store(url: str | None) -> TableStore:
    """The store at `sqlite:///PATH`, or the default one. Raises `ValueError` otherwise."""
    if url is None:
        return default_store()
    scheme, separator, rest = url.partition("://")
    opener = _OPENERS.get(scheme)
    if not separator or opener is None:
        raise ValueError(f"store {url!r}: expected a form like sqlite:///path/to/file")
    return opener(rest)


def read_device_classes(artifact: Path, manifest: Manifest, url: str | None) -> DeviceClasses:
    """The device classes there are now, by the tables in the folder `artifact` and those of
    the store at `url`: for a command, which asks once."""
    return DeviceClasses(manifest, read_bundled_tables(artifact), open_store(url))


def _open_sqlite(rest: str) -> TableStore:
    if not rest.startswith("/") or not rest.strip("/"):
        raise ValueError(f"store 'sqlite://{rest}': expected a form like sqlite:///path/to/file")
    return EmbeddedStore(Path("/" + rest.lstrip("/")))


_OPENERS: dict[str, Callable[[str], TableStore]] = {"sqlite": _open_sqlite}
