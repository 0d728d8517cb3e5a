"""A store of latency tables in Redis or Valkey, which many gateways share.

Keys of one artifact share a hash tag, so that a Cluster keeps them together: see
docs/latency-tables.md. Whatever changes does so in one script, which also tells whoever follows.
Reading takes plain commands only, so that a gateway's user needs no right to write.
"""

from __future__ import annotations

import hashlib
import math
import random
import re
import ssl
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from redis import exceptions

from gateway.stores import redis_scripts as scripts
from gateway.stores.redis_client import RedisConnection
from gateway.stores.tables import (
    MAX_DOCUMENT_BYTES,
    CurrentTable,
    StoreError,
    StoreUnavailableError,
    TableDocument,
    document_of,
    no_such_version,
)
from supernet.latency import LatencyTable

LOOK_EVERY_S = 5.0
"""For notices that were lost on the way; those that were not arrive at once."""

_POINTER = re.compile(rb"(?P<version>[1-9]\d{0,14}) (?P<sha256>[0-9a-f]{64})")
_WITHDRAWN = b"0"
_MOST_TRIES = 3
_NOTHING = (None, None)

_AWAY = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
    exceptions.RedisClusterException,
    OSError,
)
_TURNED_AWAY = (exceptions.AuthenticationError, exceptions.AuthorizationError, ssl.SSLError)


class RedisStore:
    """A `TableStore` at a Redis URL (forms: `redis_client.py`). Connects when first used.

    No call takes longer than its connection's timeouts, 2 s to connect and 5 s for an answer
    where the URL does not say otherwise.
    """

    def __init__(self, url: str) -> None:
        self._connection = RedisConnection(url)
        self.name = self._connection.name
        # redis-py types each command for both its clients, synchronous and not.
        self._client: Any = self._connection.client

    async def put(self, table: LatencyTable) -> int:
        return await self._put(table)

    async def put_over(self, table: LatencyTable, stamp: str) -> int | None:
        return await self._put(table, stamp) or None

    async def current(
        self, artifact_hash: str, known: Mapping[str, str]
    ) -> dict[str, CurrentTable]:
        with self._errors():
            for _ in range(_MOST_TRIES):  # until nothing changes between the reads
                pointers = await self._pointers(artifact_hash)
                changed = {n: p for n, p in pointers.items() if known.get(n) != p.stamp}
                read = await self._documents(
                    artifact_hash, {n: p.version for n, p in changed.items() if p.version > 0}
                )
                if not read or pointers == await self._pointers(artifact_hash):
                    break
        return pointers | {n: _with_document(p, read.get(n)) for n, p in changed.items()}

    async def versions(self, artifact_hash: str, device_class: str) -> list[int]:
        with self._errors():
            fields = await self._client.hkeys(f"{_key(artifact_hash)}:table:{device_class}")
        return sorted(int(field) for field in fields if field.isdigit())

    async def document(
        self, artifact_hash: str, device_class: str, version: int
    ) -> TableDocument | None:
        with self._errors():
            read = await self._documents(artifact_hash, {device_class: version})
        return read[device_class] if read[device_class].size else None

    async def rollback(self, artifact_hash: str, device_class: str, version: int) -> None:
        if not await self._changed(scripts.ROLLBACK, artifact_hash, device_class, version):
            there_are = await self.versions(artifact_hash, device_class)
            raise no_such_version(device_class, version, there_are)

    async def delete(self, artifact_hash: str, device_class: str) -> bool:
        return await self._changed(scripts.DELETE, artifact_hash, device_class)

    async def prune(self, artifact_hash: str, device_class: str, versions: Collection[int]) -> None:
        key = _key(artifact_hash)
        keys = (f"{key}:current", f"{key}:table:{device_class}")
        await self._run(scripts.PRUNE, keys, device_class, *versions)

    async def aliases(self, artifact_hash: str) -> dict[str, str]:
        with self._errors():
            try:
                found = await self._client.hgetall(f"{_key(artifact_hash)}:aliases")
            except exceptions.ResponseError as error:
                if "WRONGTYPE" not in str(error):
                    raise
                return {}  # no reason to keep tables from being read
        return {_text(alias): _text(device_class) for alias, device_class in found.items()}

    async def set_alias(self, artifact_hash: str, alias: str, device_class: str) -> None:
        key = _key(artifact_hash)
        await self._run(
            scripts.SET_ALIAS, (f"{key}:aliases",), f"{key}:changed", alias, device_class
        )

    async def share_evidence(
        self, artifact_hash: str, device_class: str, member: str, evidence: bytes, keep_s: float
    ) -> list[bytes]:
        keys = (f"{_key(artifact_hash)}:evidence:{device_class}",)
        given = (member, evidence, math.ceil(keep_s))
        return list(await self._run(scripts.SHARE_EVIDENCE, keys, *given))

    async def looks(self, artifact_hash: str) -> AsyncGenerator[None]:
        with self._errors():
            await self._client.initialize()  # of a Cluster: which node to ask
            notices = self._client.pubsub(ignore_subscribe_messages=True)
            try:
                await notices.subscribe(f"{_key(artifact_hash)}:changed")
                await notices.get_message(timeout=LOOK_EVERY_S)  # subscribed: nothing is missed
                while True:
                    yield
                    await notices.get_message(timeout=LOOK_EVERY_S * random.uniform(0.8, 1.2))
            finally:
                await notices.aclose()

    async def aclose(self) -> None:
        with self._errors():
            await self._connection.aclose()

    async def _put(self, table: LatencyTable, *stamp: str) -> int:
        key, name = _key(table.artifact_hash), table.device_class
        keys = (f"{key}:current", f"{key}:versions", f"{key}:table:{name}")
        document = document_of(table)
        sha256 = hashlib.sha256(document).hexdigest()
        given = (f"{key}:changed", name, document, sha256, *stamp)
        return int(await self._run(scripts.PUT, keys, *given))

    async def _changed(self, script: str, artifact_hash: str, name: str, *more: object) -> bool:
        key = _key(artifact_hash)
        keys = (f"{key}:current", f"{key}:table:{name}")
        return bool(await self._run(script, keys, f"{key}:changed", name, *more))

    async def _run(self, script: str, keys: Sequence[str], *arguments: object) -> Any:
        with self._errors():
            return await self._client.eval(script, len(keys), *keys, *arguments)

    async def _pointers(self, artifact_hash: str) -> dict[str, CurrentTable]:
        found = await self._client.hgetall(f"{_key(artifact_hash)}:current")
        return {_text(name): _pointer(said) for name, said in found.items()}

    async def _documents(
        self, artifact_hash: str, versions: Mapping[str, int]
    ) -> dict[str, TableDocument]:
        """These versions, by device class; of size 0 where there is no such one."""
        key = f"{_key(artifact_hash)}:table"
        async with self._client.pipeline(transaction=False) as ask:
            for name, version in versions.items():
                ask.hstrlen(f"{key}:{name}", str(version))
            sizes = dict(zip(versions, await _answers(ask, 0), strict=True))
        small = {name for name, size in sizes.items() if size <= MAX_DOCUMENT_BYTES}
        async with self._client.pipeline(transaction=False) as ask:
            for name in small:
                ask.hmget(f"{key}:{name}", [str(versions[name]), f"{versions[name]}.sha256"])
            texts = dict(zip(small, await _answers(ask, _NOTHING), strict=True))
        return {
            name: _document(version, sizes[name], *texts.get(name, _NOTHING))
            for name, version in versions.items()
        }

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """What redis-py raises becomes one line that names the store."""
        try:
            yield
        except (exceptions.RedisError, exceptions.RedisClusterException, OSError) as error:
            kind = StoreUnavailableError if _may_pass(error) else StoreError
            text = str(error).partition(" : <")[0]  # then come descriptions of objects
            said = " ".join(text.split())[:200] or type(error).__name__
            raise kind(f"table store {self.name}: {said}") from None


async def _answers(pipeline: Any, damaged: Any) -> list[Any]:
    """What the commands of a pipeline answer; `damaged` where a key holds something else, which
    is a matter of one device class and must not keep the others from being read."""
    answers = await pipeline.execute(raise_on_error=False)
    for answer in answers:
        if isinstance(answer, Exception) and "WRONGTYPE" not in str(answer):
            raise answer
    return [damaged if isinstance(answer, Exception) else answer for answer in answers]


def _key(artifact_hash: str) -> str:
    return f"compofa:{{{artifact_hash}}}"


def _text(said: bytes) -> str:
    return said.decode(errors="replace")


def _pointer(said: bytes) -> CurrentTable:
    match = _POINTER.fullmatch(said)
    stamp = _text(said)
    if match is not None:
        return CurrentTable(int(match["version"]), stamp)
    if said == _WITHDRAWN:
        return CurrentTable(0, stamp)
    return CurrentTable(-1, stamp, TableDocument(-1, 0, b"", sha256=stamp))  # damaged itself


def _with_document(pointer: CurrentTable, document: TableDocument | None) -> CurrentTable:
    """The document is to have the digest that was put in the pointer with it."""
    if document is None:
        return pointer
    sha256 = pointer.stamp.partition(" ")[2]
    document = TableDocument(document.version, document.size, document.text, sha256)
    return CurrentTable(pointer.version, pointer.stamp, document)


def _document(version: int, size: int, text: bytes | None, sha256: bytes | None) -> TableDocument:
    digest = None if sha256 is None else _text(sha256)
    return TableDocument(version, size, text or b"", digest)


def _may_pass(error: BaseException) -> bool:
    """Whether a later try may go well: not where the password or the certificate is wrong."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, _TURNED_AWAY):
            return False
        cause = cause.__cause__ or cause.__context__
    return isinstance(error, _AWAY)
