"""What a gateway and the processes of its workers tell each other besides batches: as JSON."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from gateway.config import ServerConfig
from gateway.logs import Level
from supernet.manifest import Manifest


class Setup(BaseModel):
    """What a process is told at its start: the configuration, and the manifest it began by, for
    the folder may hold another by now."""

    model_config = ConfigDict(frozen=True)

    config: ServerConfig
    manifest: Manifest
    log_level: Level


class Opened(BaseModel):
    """The engine is ready. `costs` are as `Costs.to_json` writes them; `loaded` where torch and the
    weights are in memory for good, because something had to be compiled."""

    model_config = ConfigDict(frozen=True)

    config: ServerConfig
    costs: str
    engine: str
    most_images: int
    learns_shapes: bool
    chain_bytes: int
    maps_weights: bool
    loaded: bool


REFUSED = "refused"
"""In place of what was asked for: why it cannot be had, in one line, under this name."""
