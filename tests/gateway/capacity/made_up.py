"""A net of two subnets whose runs take what is written here, and who asks for it."""

from __future__ import annotations

from gateway.capacity.replica import Client, Replica
from gateway.engines.costs import Line
from gateway.scheduling.dispatcher import Limits
from gateway.scheduling.ladder import Ladder
from gateway.select import Candidate

SMALL, LARGE = Candidate("small", 16, 0.8, 1.0), Candidate("large", 16, 0.9, 2.0)
BOTH = Ladder((LARGE, SMALL), {"large": LARGE, "small": SMALL})
ONLY_LARGE = Ladder((LARGE,), {"large": LARGE})
IMAGE_MS = {"small": 5.0, "large": 20.0}


def line(subnet: str) -> Line:
    """A batch saves nothing, so that what a worker can do is easy to say."""
    return Line(0.0, IMAGE_MS[subnet])


def replica(
    *ladders: Ladder, deadline_ms: float = 100.0, workers: int = 1, max_pending: int = 256
) -> Replica:
    """With a core for each worker, and nothing besides runs."""
    clients = [Client(f"class-{n}", ladder) for n, ladder in enumerate(ladders or (BOTH,))]
    return Replica(clients, line, Limits(max_pending, 8, workers), deadline_ms, cores=workers)
