"""The curves of a run for TensorBoard (the extra `tensorboard`)."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Curves:
    """Writes scalars named `<phase>/<figure>` into `folder`, over the steps of the whole run.

    Raises `ValueError` where the package is missing. Nothing is written before the first point.
    """

    def __init__(self, folder: Path) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise ValueError("--tensorboard: the extra 'tensorboard' is not installed")
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def go_on_after(self, step: int) -> None:
        """Hide the points that an interrupted run has left behind from `step` on."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self._folder), purge_step=step + 1)

    def add(self, phase: str, step: int, figures: Mapping[str, float]) -> None:
        assert self._writer is not None
        for name, value in figures.items():
            self._writer.add_scalar(f"{phase}/{name}", value, step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
