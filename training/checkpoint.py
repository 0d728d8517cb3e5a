"""Where a run stands, on disk: written so that a kill leaves the old state or the new one."""

from __future__ import annotations

import io
import pickle
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from supernet.durable import write_file
from supernet.manifest import Phase


@dataclass(slots=True)
class Progress:
    """The next step to do, and what the run has cost so far in the phase at hand."""

    phase: int = 0
    step: int = 0
    images: int = 0
    macs: int = 0
    seconds: float = 0.0
    loss: float = 0.0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Weights, optimizer state, the teacher's weights once there is one, and the ledger."""

    recipe_sha256: str
    progress: Progress
    folded: bool
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    teacher: dict[str, Tensor]
    phases: tuple[Phase, ...]

    def write(self, path: Path) -> None:
        state = {
            "recipe_sha256": self.recipe_sha256,
            "progress": asdict(self.progress),
            "folded": self.folded,
            "weights": self.weights,
            "optimizer": self.optimizer,
            "teacher": self.teacher,
            "phases": [phase.model_dump() for phase in self.phases],
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_file(path, buffer.getvalue())


_KEYS = {field.name for field in fields(Checkpoint)}


def read_checkpoint(path: Path, recipe_sha256: str) -> Checkpoint | None:
    """The checkpoint of this recipe at `path`; None where there is none.

    Raises `ValueError` where it cannot be read or belongs to another recipe.
    """
    if not path.exists():
        return None
    unreadable = f"checkpoint {path}: cannot be read; remove it to start again"
    try:
        state = torch.load(path, weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError):
        raise ValueError(unreadable) from None
    if not isinstance(state, dict) or state.keys() != _KEYS:
        raise ValueError(unreadable)
    if state["recipe_sha256"] != recipe_sha256:
        raise ValueError(
            f"checkpoint {path}: belongs to another recipe; give another --out or remove it"
        )
    return Checkpoint(
        recipe_sha256=recipe_sha256,
        progress=Progress(**state["progress"]),
        folded=state["folded"],
        weights=state["weights"],
        optimizer=state["optimizer"],
        teacher=state["teacher"],
        phases=tuple(Phase(**phase) for phase in state["phases"]),
    )
