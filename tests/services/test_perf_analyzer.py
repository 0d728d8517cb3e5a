"""Triton's own load generator against a real gateway, as it comes."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from supernet.manifest import read_manifest

if TYPE_CHECKING:
    from tests.services.conftest import GatewayProcess, Start

FOLDER = Path(__file__).parents[2] / "build/perf_analyzer"
PARAMETER = ("--request-parameter", "device_class:alpha:string")


def analyzed(gateway: GatewayProcess, name: str, *options: str) -> str:
    """What it prints. Skips where it is not there, or a library of its."""
    command = [str(FOLDER / "perf_analyzer"), "-m", name, "-i", "grpc", "-u", gateway.target]
    command += ["--shape", "input:1,16,16", "--measurement-interval", "300"]
    command += ["--stability-percentage", "999", "--concurrency-range", "4", *options]
    environment = os.environ | {"LD_LIBRARY_PATH": str(FOLDER)}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
    except FileNotFoundError:
        pytest.skip("perf_analyzer is not there: make build/perf_analyzer/.made")
    if "error while loading shared libraries" in done.stderr:
        pytest.skip(f"perf_analyzer: {done.stderr.strip()}")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def name(artifact_folder: Path) -> str:
    return read_manifest(artifact_folder).name


@pytest.mark.parametrize("options", [(), ("--async",), ("--streaming",), ("-b", "4")])
def test_it_measures_a_gateway(
    gateway: GatewayProcess, name: str, options: tuple[str, ...]
) -> None:
    before = gateway.metric("compofa_requests_total", code="OK")
    found = re.search(
        r"Throughput: ([\d.]+) infer/sec", analyzed(gateway, name, *PARAMETER, *options)
    )
    assert found is not None
    assert float(found[1]) > 0
    assert gateway.metric("compofa_requests_total", code="OK") - before > 4


def test_where_there_is_a_fallback_class_it_needs_no_parameter(start: Start, name: str) -> None:
    assert "Throughput" in analyzed(start("--fallback-device-class", "alpha"), name)
