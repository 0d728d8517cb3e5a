"""What tests of `FetchSubnet` share: requests, caches filled by hand, and processes that build."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gateway.exports.cache import ExportCache
from gateway.exports.entry import write_entry
from gateway.exports.key import ExportKey
from protos.compofa.v1 import gateway_pb2, gateway_pb2_grpc
from supernet.manifest import read_manifest
from supernet.version import version

Request = gateway_pb2.FetchSubnetRequest
MIB = 1024 * 1024
BEST = "d4-4@16"  # what `alpha` gets without constraints
SMALLEST = "d2-2@12"  # ... and with a lowest accuracy of 0


@dataclass
class Came:
    """What a stream has brought."""

    header: gateway_pb2.ExportHeader
    data: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def request(format: str = "torch", **fields: Any) -> Request:
    return Request(**{"device_class": "alpha", "format": format, **fields})


def fetch(stub: gateway_pb2_grpc.SubnetGatewayStub, asked: Request, timeout: float = 90) -> Came:
    """All of a stream."""
    header, *chunks = stub.FetchSubnet(asked, timeout=timeout)
    assert all(0 < len(part.chunk) <= 256 * 1024 for part in chunks)
    return Came(header.header, b"".join(part.chunk for part in chunks))


def filled(artifact: Path, cache: Path, size: int, subnet: str = BEST) -> bytes:
    """Put an export of `size` bytes, made up, into a cache folder; the bytes."""
    data = np.random.default_rng(size).bytes(size)
    fill(artifact, cache, "torch", {f"{subnet}.pt2": data}, subnet)
    return data


def fill(
    artifact: Path, cache: Path, format_name: str, files: dict[str, bytes], subnet: str = BEST
) -> None:
    """Put an export of these files into a cache folder."""
    cache.mkdir(exist_ok=True)
    key = ExportKey(read_manifest(artifact).artifact_hash, subnet, format_name, version())
    paths, entry = [cache / name for name in files], cache / "entry"
    for path in paths:
        path.write_bytes(files[path.name])
    write_entry(key.subnet, key.format, paths, entry)
    for path in paths:
        path.unlink()
    ExportCache(cache, 1).put(key, entry).close()


def builders(pid: int) -> list[int]:
    """The processes that a gateway has started to build exports."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_text().split("\0")
        except (OSError, IndexError):  # it has just ended
            continue
        if parent == pid and "training" in command:
            found.append(int(folder.name))
    return found


def until(condition: Callable[[], object], within_s: float = 30.0) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
