"""`log.jsonl`: a line of JSON for a point of a run, each step at most once, in order.

Knows nothing of what a line says besides `phase`, `step` and `steps`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supernet.durable import write_file


class Log:
    """Appends lines to `path`, after it has been cut back to where the run goes on."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def go_on_after(self, phase: int, step: int) -> int:
        """Drop what was written after `step` steps of the phase with the index `phase`.

        A run goes on from its checkpoint and repeats the steps it did since; their old lines
        would stand twice. So is a line dropped that was cut off with the run. Returns the steps
        of the phases before.
        """
        lines = self._path.read_text("utf-8").splitlines() if self._path.exists() else []
        kept: list[str] = []
        steps: dict[str, int] = {}  # of each phase; the phases stand in their order
        for line in lines:
            point = _parsed(line)
            if point is None:
                break
            order = [*steps, point["phase"]].index(point["phase"])
            if (order, point["step"]) > (phase, step):
                break
            steps[point["phase"]] = point["steps"]
            kept.append(line)
        if len(kept) < len(lines):
            write_file(self._path, "".join(f"{line}\n" for line in kept).encode())
        return sum(list(steps.values())[:phase])

    def append(self, point: Mapping[str, Any]) -> str:
        """Write one line; returns it."""
        line = json.dumps(point)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
        return line


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        point = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(point, dict) and {"phase", "step", "steps"} <= point.keys()
    return point if whole else None
