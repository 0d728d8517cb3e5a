"""Gateways on ports that they keep, so that an Envoy in front finds each again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.chaos.load import ARTIFACT
from tests.redis_server import free_port
from tests.services.conftest import GatewayProcess, running

START_WITHIN_S = 120.0  # nothing is compiled yet when the first one starts
ENDS_WITHIN_S = 60.0


class Fleet:
    """Places for gateways; each is a port, and whoever serves there now."""

    def __init__(self, stack: ExitStack, folder: Path, places: int) -> None:
        self.ports = [free_port() for _ in range(places)]
        self.serving: dict[int, GatewayProcess] = {}
        self._stack, self._folder, self._started = stack, folder, 0

    def start(self, place: int, *options: str, artifact: Path = ARTIFACT) -> GatewayProcess:
        """A gateway at a place where there is none; it is ready when this returns."""
        folder = self._folder / f"gateway-{self._started}"
        folder.mkdir()
        self._started += 1
        told = ("--port", str(self.ports[place]), "--no-request-logs", *options)
        started = running(artifact, folder, *told, within_s=START_WITHIN_S)
        self.serving[place] = self._stack.enter_context(started)
        return self.serving[place]

    def stop(self, place: int) -> int:
        """Ask a gateway to end, and wait until it has; its exit status."""
        gateway = self.serving.pop(place)
        gateway.ask_to_stop()
        return gateway.process.wait(ENDS_WITHIN_S)

    def kill(self, place: int) -> None:
        """As a power cut would."""
        process = self.serving.pop(place).process
        process.kill()
        process.wait(ENDS_WITHIN_S)


@contextmanager
def fleet(folder: Path, places: int) -> Iterator[Fleet]:
    """No gateway yet; all are killed at the end."""
    with ExitStack() as stack:
        yield Fleet(stack, folder, places)
