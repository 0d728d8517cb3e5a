"""Profiling really times: every subnet once, and a slower module is slower."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import Tensor, nn

from supernet import artifact
from training.profile import measure, profile


class _Sleep(nn.Module):
    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(self.seconds)
        return x


def test_times_are_milliseconds_of_the_call() -> None:
    timing = measure(_Sleep(0.005), torch.zeros(1), runs=5)
    assert 5.0 <= timing.median_ms < 50.0
    assert timing.p95_ms >= timing.median_ms
    assert timing.runs == 5


def test_table_has_every_subnet_and_says_how_it_was_measured(artifact_folder: Path) -> None:
    loaded = artifact.load(artifact_folder)
    seen: list[int] = []
    table = profile(loaded, "here", num_threads=1, runs=2, advance=seen.append)
    assert set(table.latency_ms) == {arch.id for arch in loaded.supernet.space.enumerate()}
    assert len(seen) == len(table.latency_ms)
    assert table.measured
    assert table.conditions["threads"] == "1"
    assert table.artifact_hash == loaded.manifest.artifact_hash
    assert all(table.p95_ms[subnet] >= ms for subnet, ms in table.latency_ms.items())
