"""A latency that a client has measured: what it says, who says it, and why it may be refused.

Knows no wire format.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal
from urllib.parse import unquote

Reason = Literal["artifact", "client", "device_class", "full", "latency", "rate", "subnet"]

LONGEST_CLIENT_NAME = 128  # bytes
_HOST_AND_PORT = re.compile(r"ipv[46]:\[?(?P<host>[0-9A-Fa-f:.]+)\]?:\d+")
_IPV6_SITE = 64  # bits: one machine has all the addresses below


@dataclass(frozen=True, slots=True)
class Report:
    """One measurement of `subnet`, for one image. `client` is who says it, as `client_key` has
    it; `artifact_hash` is empty where the client does not say."""

    device_class: str
    subnet: str
    latency_ms: float
    client: str
    artifact_hash: str = ""


class RefusedReportError(ValueError):
    """A report that does not count; `reason` is one word, the message one line for the client."""

    def __init__(self, reason: Reason, message: str) -> None:
        self.reason: Reason = reason
        super().__init__(message)


@lru_cache(maxsize=1024)  # all reports of a stream have the same, as a rule
def client_key(peer: str, name: str, *, trust_names: bool, salt: str) -> str:
    """Who counts as one client: 16 hexadecimal digits that do not show what they stand for.

    The address that gRPC gives for `peer`, for it costs something to have many; of IPv6 the
    network that one machine has. Where `trust_names` is set, the name a client gives itself.
    Raises `RefusedReportError` where that is too long.
    """
    if len(name.encode()) > LONGEST_CLIENT_NAME:
        expected = f"expected at most {LONGEST_CLIENT_NAME} bytes"
        raise RefusedReportError("client", f"client: {expected}, got {len(name.encode())}")
    who = f"name {name}" if trust_names and name else f"address {address_of(peer)}"
    key = hashlib.sha256(salt.encode()).digest()
    return hashlib.blake2b(who.encode(), digest_size=8, key=key).hexdigest()


def address_of(peer: str) -> str:
    """What counts as the address of a peer, as gRPC names it. Those that have none that can be
    read share one: they are one client."""
    match = _HOST_AND_PORT.fullmatch(unquote(peer))
    if match is None:
        return "unknown"
    address = ipaddress.ip_address(match["host"])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, _IPV6_SITE), strict=False))
    return str(address)
