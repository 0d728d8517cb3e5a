"""A real Prometheus for tests, from the system's package: scrapes gateways, evaluates rules."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.redis_server import free_port

PROGRAMS = ("prometheus", "promtool")
MISSING = [name for name in PROGRAMS if shutil.which(name) is None]
SCRAPE_S = 0.5
START_WITHIN_S = 30.0
NAMESPACE, JOB = "verify", "gateways"

Series = dict[str, Any]


class PrometheusServer:
    """Answers queries over HTTP. Raises `ValueError` with Prometheus' own words for a bad one."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def ask(self, path: str, **parameters: str | float) -> Any:
        """The data of an answer of the API."""
        query = urllib.parse.urlencode(parameters)
        request = f"{self._url}/api/v1/{path}?{query}"
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(json.load(error).get("error", "no reason given")) from None

    def ranged(self, expr: str, start: float, end: float) -> list[Series]:
        """The series of an expression, with their values between two times, as Grafana asks."""
        data = self.ask("query_range", query=expr, start=start, end=end, step=1)
        series: list[Series] = data["result"]
        return series

    def label_values(self, label: str, selector: str) -> list[str]:
        values: list[str] = self.ask(f"label/{label}/values", **{"match[]": selector})
        return values

    def exemplars(self, selector: str, start: float, end: float) -> list[Series]:
        """The series of a selector that have exemplars, with these."""
        series: list[Series] = self.ask("query_exemplars", query=selector, start=start, end=end)
        return series

    def rules(self) -> list[dict[str, Any]]:
        """Every rule, with its health and what it was evaluated to."""
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._url}/-/ready", timeout=5):
                return True
        except OSError:
            return False


@contextmanager
def running_prometheus(
    folder: Path, targets: Sequence[str], rules: Sequence[Path] = (), *options: str
) -> Iterator[PrometheusServer]:
    """Scrapes `targets` (HOST:PORT) and keeps everything in `folder`; killed at the end. `options`
    are more of its command."""
    folder.mkdir(parents=True, exist_ok=True)
    port, file = free_port(), folder / "prometheus.yaml"
    file.write_text(yaml.safe_dump(_configuration(targets, rules)))
    command = ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}",
               f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
               "--enable-feature=exemplar-storage",
               *options]  # fmt: skip
    log_file = folder / "prometheus.log"
    with log_file.open("wb") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            server = PrometheusServer(port)
            until = time.monotonic() + START_WITHIN_S
            while not server.is_ready():
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"prometheus did not start: {log_file.read_text()}")
                time.sleep(0.05)
            yield server
        finally:
            process.kill()


def _configuration(targets: Sequence[str], rules: Sequence[Path]) -> dict[str, Any]:
    every = f"{int(SCRAPE_S * 1000)}ms"
    static = {"targets": list(targets), "labels": {"namespace": NAMESPACE}}
    return {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": "1s"},
        "rule_files": [str(rule) for rule in rules],
        "scrape_configs": [{"job_name": JOB, "static_configs": [static]}],
    }
