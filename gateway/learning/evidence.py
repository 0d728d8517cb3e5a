"""What reports come to: one estimate for each client and subnet, so that every client has one say.

Gateways that share a store share their evidence through it, as small JSON documents.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from supernet.latency import Milliseconds

_MOST_SHARED = 20_000
_Name = Annotated[str, Field(max_length=256)]


class Estimate(NamedTuple):
    """The median of what one client reported of one subnet, and how many reports that was."""

    client: _Name
    subnet: _Name
    latency_ms: Milliseconds
    reports: Annotated[int, Field(ge=1)]


class Evidence(BaseModel):
    """Estimates for one device class, gathered while its table was version `base` or one learned
    from that."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    base: int
    estimates: Annotated[tuple[Estimate, ...], Field(max_length=_MOST_SHARED)] = ()

    def document(self) -> bytes:
        """As other gateways read it; those with the most reports where there are too many."""
        if len(self.estimates) <= _MOST_SHARED:
            return self.model_dump_json().encode()
        most = sorted(self.estimates, key=lambda e: -e.reports)[:_MOST_SHARED]
        return Evidence(base=self.base, estimates=tuple(most)).model_dump_json().encode()

    def by_subnet(self) -> dict[str, list[Estimate]]:
        found: dict[str, list[Estimate]] = {}
        for estimate in self.estimates:
            found.setdefault(estimate.subnet, []).append(estimate)
        return found


def read_evidence(document: bytes) -> Evidence | None:
    """What a gateway has shared; None where that makes no sense."""
    try:
        return Evidence.model_validate_json(document)
    except ValidationError:
        return None


def merged(base: int, parts: Iterable[Evidence | None]) -> Evidence:
    """All evidence over version `base`. A client that reports to several gateways has one say
    there too: of its estimates for a subnet the one from the most reports."""
    best: dict[tuple[str, str], Estimate] = {}
    for part in parts:
        if part is None or part.base != base:
            continue
        for estimate in part.estimates:
            key = estimate.client, estimate.subnet
            if key not in best or best[key].reports < estimate.reports:
                best[key] = estimate
    return Evidence(base=base, estimates=tuple(best.values()))
