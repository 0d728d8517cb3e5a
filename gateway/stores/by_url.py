"""Which store of latency tables is meant: the embedded one by default, or one by its URL."""

from __future__ import annotations

import asyncio
import getpass
import os
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TypeVar

import platformdirs

from gateway.device_classes import DeviceClasses
from gateway.stores.embedded_store import EmbeddedStore
from gateway.stores.table_follower import TableFollower
from gateway.stores.tables import StoreError, StoreUnavailableError, TableStore
from supernet.latency import LatencyTable, read_bundled_tables
from supernet.manifest import Manifest

STORE_VARIABLE = "COMPOFA_STORE"
CREATED_BY_VARIABLE = "COMPOFA_CREATED_BY"
STATE_DIR_VARIABLE = "COMPOFA_STATE_DIR"
STORE_FILE = "tables.sqlite3"
ANSWER_WITHIN_S = 20.0

T = TypeVar("T")


def default_path() -> Path:
    """The embedded store's file in the user's state folder, or in `COMPOFA_STATE_DIR`."""
    folder = os.environ.get(STATE_DIR_VARIABLE) or platformdirs.user_state_dir("compofa")
    return Path(folder) / STORE_FILE


def open_store(url: str | None) -> TableStore:
    """The store at `sqlite:///PATH` or a Redis URL; without one that of `COMPOFA_STORE`, or else
    the embedded one. Reads and writes nothing yet. Raises `StoreError` for any other URL."""
    url = url or os.environ.get(STORE_VARIABLE)
    if not url:
        return EmbeddedStore(default_path())
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "sqlite" and rest.startswith("/") and rest.strip("/"):
        return EmbeddedStore(Path("/" + rest.lstrip("/")))
    from gateway.stores.redis_client import SCHEMES  # redis-py is worth a tenth of a second
    from gateway.stores.redis_store import RedisStore

    if separator and scheme in SCHEMES:
        return RedisStore(url)
    raise StoreError("store: expected a form like sqlite:///path/to/file or redis://host:6379/0")


def ask(url: str | None, question: Callable[[TableStore], Awaitable[T]]) -> T:
    """One question to the store at a URL, for a command. Not within an event loop."""

    async def answer() -> T:
        async with aclosing(open_store(url)) as store:
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    return await question(store)
            except TimeoutError:
                message = f"table store {store.name}: no answer within {ANSWER_WITHIN_S:g} s"
                raise StoreUnavailableError(message) from None

    return asyncio.run(answer())


def signed(table: LatencyTable) -> LatencyTable:
    """A table that says who puts it into a store: `COMPOFA_CREATED_BY`, or the login name.

    Nothing of the machine, for every client of a gateway may read it; nothing at all where the
    variable is set and empty, or the login has no name.
    """
    who = os.environ.get(CREATED_BY_VARIABLE)
    if who is None:
        with suppress(KeyError, OSError):
            who = getpass.getuser()
    shown = "".join(letter for letter in who or "" if letter.isprintable())[:63]
    return table.model_copy(update={"created_by": shown or None})


def table_follower(
    artifact: Path, manifest: Manifest, url: str | None, *, fallback: str | None = None
) -> TableFollower:
    """What keeps the device classes of the artifact in a folder as the store at `url` has them,
    begun with the tables that came with the artifact."""
    classes = DeviceClasses(manifest, read_bundled_tables(artifact), fallback=fallback)
    return TableFollower(classes, manifest, lambda: open_store(url))


def read_device_classes(
    artifact: Path, manifest: Manifest, url: str | None, *, fallback: str | None = None
) -> DeviceClasses:
    """The device classes there are now, by the tables in the folder `artifact` and those of
    the store at `url`: for a command, which asks once."""
    follower = table_follower(artifact, manifest, url, fallback=fallback)
    asyncio.run(follower.read())
    return follower.classes
