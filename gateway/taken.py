"""What another process of this machine has taken of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from gateway.heap import resident_bytes

_USER, _SYSTEM = 11, 12  # fields of proc_pid_stat(5), from the state on


@dataclass(frozen=True, slots=True)
class Taken:
    """Processor time since its start, and memory now."""

    cpu_seconds: float
    resident_bytes: int


def taken_by(pid: int) -> Taken | None:
    """None where there is no such process any more."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = told.rpartition(")")[2].split()
    ticks = int(fields[_USER]) + int(fields[_SYSTEM])
    return Taken(ticks / os.sysconf("SC_CLK_TCK"), resident_bytes(pid))
