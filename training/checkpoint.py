"""Where a run stands, on disk: written so that a kill leaves the old state or the new one."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from supernet.durable import write_file
from supernet.manifest import Phase
from training import recipe
from training.costs.energy import Energy


@dataclass(slots=True)
class Progress:
    """The next step to do, and what the phase at hand has cost so far: `seconds` in all, of which
    `waiting` for images. `loss` and the first subnet's `accuracy` [0, 1] on its batches are moving
    averages over about 50 steps."""

    phase: int = 0
    step: int = 0
    images: int = 0
    macs: int = 0
    seconds: float = 0.0
    waiting: float = 0.0
    energy_kwh: float | None = None
    co2_kg: float | None = None
    loss: float = 0.0
    accuracy: float = 0.0

    def watch(self, loss: float, accuracy: float) -> None:
        """Take in a step's figures, before the step is counted."""
        share = max(0.02, 1 / (self.step + 1))  # the plain mean of the first 50
        self.loss += share * (loss - self.loss)
        self.accuracy += share * (accuracy - self.accuracy)

    def add(self, energy: Energy) -> None:
        """What was taken since the last time; nothing where nothing is measured."""
        if energy.kwh is not None and energy.co2_kg is not None:
            self.energy_kwh = (self.energy_kwh or 0.0) + energy.kwh
            self.co2_kg = (self.co2_kg or 0.0) + energy.co2_kg

    def account(self, phase: recipe.Phase) -> Phase:
        """The ledger's entry for the phase at hand."""
        return Phase(
            name=phase.name,
            epochs=phase.epochs,
            images=self.images,
            macs=self.macs,
            hours=round(self.seconds / 3600, 6),
            waiting_hours=round(self.waiting / 3600, 6),
            energy_kwh=self.energy_kwh,
            co2_kg=self.co2_kg,
            train_loss=round(self.loss, 4),
        )


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Weights, the updater's state within a phase, the teacher's weights once there is one, and
    the ledger. `identity` is the run's: its recipe and what it started from. `settings` are what
    it has run on so far, in order."""

    identity: str
    progress: Progress
    weights: dict[str, Tensor]
    updater: dict[str, Any]
    teacher: dict[str, Tensor]
    phases: tuple[Phase, ...]
    settings: tuple[str, ...]

    def write(self, path: Path) -> None:
        state = {
            "identity": self.identity,
            "progress": asdict(self.progress),
            "weights": self.weights,
            "updater": self.updater,
            "teacher": self.teacher,
            "phases": [phase.model_dump() for phase in self.phases],
            "settings": list(self.settings),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
        write_file(path, sha256(content).digest() + content)


_DIGEST_BYTES = sha256().digest_size
_KEYS = {field.name for field in fields(Checkpoint)}


def read_checkpoint(path: Path, identity: str) -> Checkpoint | None:
    """The checkpoint of this run at `path`; None where there is none.

    Raises `ValueError` where it cannot be read or belongs to another run.
    """
    if not path.exists():
        return None
    unreadable = f"checkpoint {path}: cannot be read; remove it to start again"
    written = path.read_bytes()
    digest, content = written[:_DIGEST_BYTES], written[_DIGEST_BYTES:]
    if sha256(content).digest() != digest:  # a single bit could be loaded, and trained on
        raise ValueError(unreadable)
    state = torch.load(io.BytesIO(content), weights_only=True)
    if state.keys() != _KEYS:
        raise ValueError(unreadable)
    if state["identity"] != identity:
        raise ValueError(
            f"checkpoint {path}: belongs to another recipe, another start or other images; give "
            "another --out or remove it"
        )
    return Checkpoint(
        identity=identity,
        progress=Progress(**state["progress"]),
        weights=state["weights"],
        updater=state["updater"],
        teacher=state["teacher"],
        phases=tuple(Phase(**phase) for phase in state["phases"]),
        settings=tuple(state["settings"]),
    )
