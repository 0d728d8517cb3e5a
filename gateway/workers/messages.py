"""What a gateway and the processes of its workers tell each other, besides batches."""

from __future__ import annotations

from dataclasses import dataclass

from gateway import logs
from gateway.config import ServerConfig
from gateway.engines.costs import Costs, CostsByMacs
from supernet.architecture import Architecture
from supernet.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Setup:
    """What a process is told at its start: the configuration, and the manifest it began by, for
    the folder may hold another by now."""

    config: ServerConfig
    manifest: Manifest
    log_level: logs.Level


@dataclass(frozen=True, slots=True)
class Opened:
    """The engine is ready. `loaded` where torch and the weights are in memory for good, because
    something had to be compiled."""

    config: ServerConfig
    costs: Costs | CostsByMacs
    engine: str
    most_images: int
    learns_shapes: bool
    chain_bytes: int
    loaded: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """The engine cannot be had: why, in one line."""

    reason: str


@dataclass(frozen=True, slots=True)
class Whole:
    """Have a subnet whole, or no longer. The answer is whether it is so: nothing is compiled that
    is not in the cache."""

    arch: Architecture
    wanted: bool
