"""Another version of the artifact, brought in beside the old one under load.

A gateway serves one artifact all its life, so a new version is a new gateway. The new artifact
replaces the old one on disk, under the same name; gateways that start now serve it, and are warm
when Envoy first finds them healthy; then the old ones drain. Every answer is
held against what either artifact alone gives for the subnet that the answer names, bit for bit: an
answer that mixes weights of one with statistics of the other would be neither.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import torch

from benchmarks.chaos.fleet import Fleet, fleet
from benchmarks.chaos.load import ARTIFACT, Ask, Load, images, loaded, ours, until_answered
from benchmarks.chaos.outcome import Outcome, counted
from gateway import images as preparing
from gateway.client_values import Inferred
from gateway.config import ServerConfig
from gateway.engines.engine import Engine
from gateway.opening import open_pipeline
from gateway.request import Constraints, ImageInput
from supernet import artifact
from supernet.architecture import Architecture
from supernet.latency import read_bundled_tables
from tests.services.envoy import Envoy, running_envoy

BUDGETS_MS = (1.6, 1.8, 2.2, 2.6, 5.0)
ANSWERS_BETWEEN = 300
CHANGE = 0.02
ENGINE: Final = "onnxruntime"
# One image a batch, and one engine for all: what else is in a batch may change the last bits of an
# answer, and another runtime does.
OPTIONS = ("--max-batch", "1", "--engine", ENGINE)

Seen = Counter[tuple[str, str, bytes]]
"""Answers, by input, subnet and the logits' bytes."""


def run(folder: Path) -> Iterator[Outcome]:
    net = folder / "net"
    shutil.copytree(ARTIFACT, net)
    asks = [
        Ask(i.name, i.given, Constraints("reference-cpu", b)) for i in images() for b in BUDGETS_MS
    ]
    seen: Seen = Counter()
    with fleet(folder, places=4) as gateways:
        for place in range(2):
            gateways.start(place, *OPTIONS, artifact=net)
        with running_envoy(folder, gateways.ports) as envoy:
            envoy.until_healthy(2)
            load = asyncio.run(_swapped(gateways, envoy, net, asks, seen))
    yield Outcome(
        "new in beside the old, warm, old drained; two gateways", load.in_words, not load.failures
    )
    yield _outcome(seen, {ask.name: ask for ask in asks}, net, folder)


def replace(folder: Path) -> None:
    """Put the shipped artifact with other weights and other normalisation, all else the same."""
    old = artifact.load(ARTIFACT)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in (*old.supernet.parameters(), *old.supernet.normalization.tensors().values()):
            tensor.mul_(1 + CHANGE * torch.randn(tensor.shape, generator=generator))
    description = artifact.Description.of(old)
    artifact.save(folder, old.supernet, description, read_bundled_tables(ARTIFACT))


async def _swapped(gateways: Fleet, envoy: Envoy, net: Path, asks: list[Ask], seen: Seen) -> Load:
    def note(ask: Ask, answer: Inferred) -> None:
        seen[ask.name, answer.subnet, answer.logits.tobytes()] += 1

    async with ours(envoy.target) as client, loaded(client, asks, check=note) as load:
        await until_answered(load, ANSWERS_BETWEEN)
        await asyncio.to_thread(replace, net)
        await until_answered(load, ANSWERS_BETWEEN)
        for place in range(2):
            await asyncio.to_thread(gateways.start, place + 2, *OPTIONS, artifact=net)
            await asyncio.to_thread(envoy.until_healthy, 3)
            await until_answered(load, ANSWERS_BETWEEN)
            await asyncio.to_thread(gateways.stop, place)
            await asyncio.to_thread(envoy.until_healthy, 2)
        await until_answered(load, ANSWERS_BETWEEN)
    return load


def _outcome(seen: Seen, asks: dict[str, Ask], new: Path, folder: Path) -> Outcome:
    """How many answers are the one artifact's, and how many the other's."""
    asked = sorted({(name, subnet) for name, subnet, _ in seen})
    old_bits, new_bits = (
        expected(each, asked, asks, folder / "tables.sqlite3") for each in (ARTIFACT, new)
    )
    found: Counter[str] = Counter()
    for (name, subnet, bits), answers in seen.items():
        by = (bits in old_bits[name, subnet], bits in new_bits[name, subnet])
        found[{(True, False): "old", (False, True): "new"}.get(by, "wrong")] += answers
    subnets = len({subnet for _, subnet in asked})
    return Outcome(
        f"each answer's bits, {counted(subnets, 'subnet')}, {counted(len(images()), 'image')}",
        f"{found['old']:,} the old artifact's, {found['new']:,} the new one's, "
        f"{found['wrong']:,} neither's or both's",
        found["wrong"] == 0 and found["old"] > 0 and found["new"] > 0,
    )


def expected(
    folder: Path, asked: list[tuple[str, str]], asks: dict[str, Ask], store: Path
) -> dict[tuple[str, str], set[bytes]]:
    """The logits that an artifact alone gives, for each input and subnet: as a chain of pieces, and
    compiled whole, for a gateway may run it in either way."""
    config = ServerConfig(artifact=folder, store=f"sqlite:///{store}", engine=ENGINE, workers=1)
    found = {}
    with open_pipeline(config) as pipeline:
        engine, manifest = pipeline.engine, pipeline.manifest
        assert isinstance(engine, Engine)
        lane = engine.lane()
        for whole in (False, True):
            for name, subnet in asked:
                arch = Architecture.parse(subnet)
                if whole:
                    engine.whole.obtain(arch)
                given = asks[name].given
                assert isinstance(given, bytes)
                x = preparing.prepare(
                    ImageInput(given),
                    arch.resolution,
                    manifest.design_space,
                    manifest.preprocessing,
                )
                logits = np.ascontiguousarray(lane.run(arch, x).logits, np.float32)
                found.setdefault((name, subnet), set()).add(logits.tobytes())
    return found
