"""What is in memory of a net, for whoever watches."""

from __future__ import annotations

from typing import Any

from gateway.engines.usage import Usage
from gateway.engines.whole_subnets import WholeSubnets
from supernet.architecture import Architecture


class Residency:
    """Segments of a chain, with so many bytes of weights, and subnets compiled whole."""

    name: str
    """Of the runtime."""
    learns_shapes: bool
    most_images: int
    """Of one run: more than that are run one part after another."""

    def __init__(self, whole: WholeSubnets[Any], usage: Usage, chain_bytes: int) -> None:
        self.whole, self.usage, self.chain_bytes = whole, usage, chain_bytes
        self.lost = 0  # workers that ended by themselves

    @property
    def resident_bytes(self) -> int:
        """Weights of the chain and of what is compiled whole."""
        return self.chain_bytes + self.whole.resident_bytes

    @property
    def whole_subnets(self) -> int:
        """How many are compiled whole."""
        return len(self.whole.archs)

    @property
    def compile_failures(self) -> int:
        """How often one could not be."""
        return self.whole.failures

    def processes(self) -> dict[int, int]:
        """Of workers that have one of their own: the process's id by the worker's number."""
        return {}

    def resident(self) -> dict[Architecture, int]:
        """Bytes of each subnet that is compiled whole."""
        return self.whole.sizes

    def runs(self) -> dict[Architecture, float]:
        """How often each subnet ran lately, the most used first."""
        return self.usage.counts()
