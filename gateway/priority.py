"""Who has the processor first, among the threads of a gateway: its event loop, then its engine."""

from __future__ import annotations

import os
import sys

ENGINE, ASIDE = 5, 10
"""Steps below the event loop. Whoever waits for the engine waits anyway; a loop that does not come
to its turn leaves cores idle for want of requests: a tenth of all answers, where it shares two
(docs/scaling.md)."""


def give_way(steps: int) -> None:
    """Let this thread, and those that it starts, have what others leave of the processor. On Linux
    each thread has a priority of its own; elsewhere it is the process's, and stays."""
    if sys.platform == "linux":
        os.nice(steps)
