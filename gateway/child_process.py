"""What processes that a gateway starts are given: an environment, and a priority."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import gateway

_NICENESS = 10  # above the gateway's own
_LOWEST_PRIORITY = 19


def environment() -> dict[str, str]:
    """This process's, with one thread, and with this project's code first of all."""
    root = str(Path(next(iter(gateway.__path__))).parent)
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return {"OMP_NUM_THREADS": "1"} | os.environ | {"PYTHONPATH": path}


def yield_to_requests(pid: int) -> None:
    """Let a process have what this one leaves of the processor. It has to be of the same session:
    where Linux groups threads by sessions (sched(7), autogroup), a priority is one among those of a
    session, and each session gets as much as any other."""
    with suppress(ProcessLookupError):
        niceness = min(os.getpriority(os.PRIO_PROCESS, 0) + _NICENESS, _LOWEST_PRIORITY)
        os.setpriority(os.PRIO_PROCESS, pid, niceness)
