"""The Redis client that a store's URL means: one server, Sentinel's primary, or a Cluster.

The forms are redis-py's own where it has one; those with several hosts are spelt as other tools
spell them. No error and no name made here repeats what may be a password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import (
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import RedisClusterException, RedisError

from gateway.stores.tables import StoreError

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster",
           "rediss+cluster")  # fmt: skip
# What is printed is masked: a URL with credentials in it would not be read as it stands here.
_FORM = (
    "redis://host[:port][/db], unix:///path, redis+sentinel://host[:port][,...]/service[/db] or "
    "redis+cluster://host[:port][,...], each with user:password@ before host or path, rediss for "
    "TLS and redis-py's options; special characters as %XX"
)
_URL = re.compile(
    r"(?P<scheme>(?P<tls>rediss)?(redis)?(\+(?P<kind>sentinel|cluster))?)://"
    r"((?P<credentials>[^/?#]*)@)?(?P<hosts>[^/?#@]+)(?P<path>/[^?#]*)?(\?(?P<query>[^#]*))?"
)
_PATHS = {  # what a path may be, by kind
    None: re.compile(r"/?(?P<service>)(?P<db>\d*)"),
    "sentinel": re.compile(r"/(?P<service>[^/]+)(/(?P<db>\d*))?"),
    "cluster": re.compile(r"/?(?P<service>)(?P<db>)"),
}
_HOST = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^\[\]:]+)(:(?P<port>\d+))?")

# What a URL's options may change. One attempt each: whoever asks knows when to ask again.
_DEFAULTS: dict[str, Any] = {
    "protocol": 2,  # what every server and proxy speaks
    "socket_connect_timeout": 2.0,
    "socket_timeout": 5.0,
}
_FIXED: dict[str, Any] = {"decode_responses": False, "driver_info": None}
_ONCE = Retry(NoBackoff(), 0)

Client = Redis | RedisCluster


@dataclass(frozen=True, slots=True)
class _Target:
    """A URL taken apart. `options` are redis-py's, credentials among them."""

    name: str
    kind: str | None  # "sentinel" or "cluster"
    tls: bool
    members: tuple[tuple[str, int], ...]
    service: str
    options: dict[str, Any]


class RedisConnection:
    """A client, what to call it, and how to close it. `name` holds no credentials.

    Connects when it is first used. Raises `StoreError` where the URL is not of a known form,
    without repeating it.
    """

    def __init__(self, url: str) -> None:
        self._sentinel: Any = None
        try:
            target = _unix(url) if url.startswith("unix:") else _parse(url)
            self.name = target.name
            self.client = self._client(target)
        except StoreError:
            raise
        except (ValueError, TypeError, RedisError, RedisClusterException):
            # Their words may hold what was in the URL.
            scheme = url.partition(":")[0][:20]
            raise StoreError(f"store {scheme}://...: expected a form like {_FORM}") from None

    async def aclose(self) -> None:
        await self.client.aclose()
        if self._sentinel is not None:
            await self._sentinel.aclose()

    def _client(self, target: _Target) -> Client:
        options = _DEFAULTS | target.options | _FIXED
        _check_files(target.name, options)
        if target.kind == "cluster":
            nodes = [ClusterNode(host, port) for host, port in target.members]
            retry = Retry(ExponentialWithJitterBackoff(base=0.01, cap=0.1), 3)
            return RedisCluster(startup_nodes=nodes, ssl=target.tls, retry=retry, **options)
        client = self._primary(target, options) if target.kind else _single(target, options)
        pool: Any = client.connection_pool
        pool.make_connection()  # raises `TypeError` for an option that nobody knows
        return client

    def _primary(self, target: _Target, options: dict[str, Any]) -> Redis:
        """Of the servers that Sentinel watches, the one that takes writes."""
        of_sentinel = {k.removeprefix("sentinel_"): options.pop(k) for k in list(options)
                       if k.startswith("sentinel_")}  # fmt: skip
        shared = {k: v for k, v in options.items() if k.startswith(("socket_", "ssl_"))}
        shared |= {"protocol": options["protocol"], "retry": _ONCE, "ssl": target.tls}
        of: Any = Sentinel  # redis-py has left it without types
        self._sentinel = of(target.members, sentinel_kwargs=shared | of_sentinel)
        primary: Redis = self._sentinel.master_for(
            target.service, ssl=target.tls, retry=_ONCE, **options
        )
        return primary


def _single(target: _Target, options: dict[str, Any]) -> Redis:
    kind: type[Connection | UnixDomainSocketConnection] = UnixDomainSocketConnection
    if target.members:
        ((options["host"], options["port"]),) = target.members
        kind = SSLConnection if target.tls else Connection
    return Redis.from_pool(ConnectionPool(connection_class=kind, retry=_ONCE, **options))


def _unix(url: str) -> _Target:
    options = dict(parse_url(url))
    del options["connection_class"]
    if "path" not in options:
        raise ValueError("path")
    return _Target(f"unix://{options['path']}", None, False, (), "", options)


def _parse(url: str) -> _Target:
    """Raises `ValueError` or `TypeError`."""
    whole = _URL.fullmatch(url)
    path = whole and _PATHS[whole["kind"]].fullmatch(whole["path"] or "")
    if whole is None or path is None or whole["scheme"] not in SCHEMES:
        raise ValueError("form")
    parse_qsl(whole["query"] or "", strict_parsing=bool(whole["query"]))
    members = tuple(
        _member(text, 26379 if whole["kind"] == "sentinel" else 6379)
        for text in whole["hosts"].split(",")
    )
    if len(members) > 1 and not whole["kind"]:
        raise ValueError("hosts")
    # redis-py reads the rest as if it were for one host.
    credentials = f"{whole['credentials']}@" if whole["credentials"] else ""
    options = dict(
        parse_url(f"redis://{credentials}host/{path['db'] or ''}?{whole['query'] or ''}")
    )
    del options["host"]
    hosts = ",".join(
        f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in members
    )
    name = f"{whole['scheme']}://{hosts}{whole['path'] or ''}".rstrip("/")
    service = unquote(path["service"])
    return _Target(name, whole["kind"], bool(whole["tls"]), members, service, options)


def _member(text: str, default_port: int) -> tuple[str, int]:
    """Of `host`, `host:port`, `[::1]` or `[::1]:port`."""
    match = _HOST.fullmatch(text)
    if match is None or int(match["port"] or 0) > 65535:
        raise ValueError("host")
    return match["host"].strip("[]"), int(match["port"] or default_port)


def _check_files(name: str, options: dict[str, Any]) -> None:
    """redis-py would say it only when it connects, as if the server were away."""
    for option in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if option in options and not Path(options[option]).is_file():
            raise StoreError(f"table store {name}: {option}: there is no file {options[option]!r}")
