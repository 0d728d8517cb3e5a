"""Which subnet fits where the space holds more than the catalog lists: an evolutionary search.

Accuracies come from the predictor that the artifact keeps, latencies from the blocks of a device
class's table. What it finds is never worse than the best of the catalog. Needs no torch.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gateway.errors import NoSubnet
from gateway.request import Constraints, Selection
from gateway.search.evolution import Evolution, evolve
from gateway.search.genome import Genome
from gateway.select import Candidate, Candidates, Goal, select
from supernet.accuracy_predictor import TRAINED_RESOLUTIONS, AccuracyPredictor, read_predictor
from supernet.architecture import Architecture
from supernet.block_latency import BlockLatency
from supernet.latency import LatencyTable
from supernet.lookup_table import LookupTable
from supernet.manifest import Manifest

_PLACES = 5  # of an accuracy, as in catalogs
_FASTEST = Goal(None, 0.0, "latency")
_MOST_ACCURATE = Goal(None, None, "accuracy")


def obstacle(manifest: Manifest, table: LatencyTable) -> str | None:
    """Why only the catalog can be searched, in words; None where the whole space can."""
    if manifest.predictor_sha256 is None:
        return "the artifact keeps no accuracy predictor"
    if manifest.catalog.predicted_by is None:
        return "its accuracies are measured, and none can be predicted to compare with them"
    if not table.blocks:
        return f"the table of {table.device_class!r} holds no blocks"
    if not set(table.blocks) & set(manifest.design_space.resolutions) & set(TRAINED_RESOLUTIONS):
        return f"the table of {table.device_class!r} has no resolution to predict accuracies at"
    return None


class ElasticSearch:
    """The space of an artifact that has no `obstacle`, on the device class of a table.

    Raises `ArtifactError` for a predictor that cannot be read, and `ValueError` where the blocks
    make up no net. `missing` counts the blocks of the space that the table lacks: what has one is
    never found.
    """

    def __init__(
        self, artifact: Path, manifest: Manifest, candidates: Candidates, table: LatencyTable
    ) -> None:
        predictor, space = read_predictor(artifact, manifest), manifest.design_space
        assert predictor is not None, "there is no obstacle"
        self._accuracy: AccuracyPredictor = predictor
        self._latency = BlockLatency(LookupTable(space, table.blocks, {}))
        resolutions = [r for r in self._latency.resolutions if r in TRAINED_RESOLUTIONS]
        if not resolutions:
            raise ValueError(
                f"the blocks of {table.device_class!r} make up no subnet of {space.name}"
            )
        self._genome = Genome(space, resolutions)
        self._fastest = self._latency.fastest(resolutions)
        self._candidates, self._device_class = candidates, table.device_class
        self.missing = self._latency.missing

    def select(self, constraints: Constraints, evolution: Evolution) -> Selection:
        """The best found. Raises `NoSubnet` naming the nearest."""
        goal = Goal.of(constraints, self._candidates.default_budget_ms)
        listed = self._listed(constraints)
        start = [self._fastest, *(Architecture.parse(c.subnet) for c in listed)]
        found = self._evolved(goal, evolution, start)
        fit = [candidate for candidate in listed + found if goal.admits(candidate)]
        if not fit:
            raise NoSubnet(self._nearest(goal, found, evolution))
        best = min(fit, key=goal.order)
        return Selection(best.subnet, best.accuracy, best.latency_ms, degraded=False)

    def _listed(self, constraints: Constraints) -> list[Candidate]:
        """The best of the catalog, where it has any that fits."""
        try:
            best = select(self._candidates, constraints)
        except NoSubnet:
            return []
        resolution = Architecture.parse(best.subnet).resolution
        return [Candidate(best.subnet, resolution, best.accuracy, best.latency_ms)]

    def _evolved(
        self, goal: Goal, evolution: Evolution, start: list[Architecture]
    ) -> list[Candidate]:
        if goal.prefer == "accuracy":  # the most accurate there is, whether it suffices or not
            goal = Goal(goal.budget_ms, None, "accuracy")
        found = evolve(self._genome, self._accuracy, self._latency, goal, evolution, start)
        return [replace(found, accuracy=round(found.accuracy, _PLACES))] if found else []

    def _nearest(self, goal: Goal, found: list[Candidate], evolution: Evolution) -> str:
        """Why nothing fits, and the nearest that was found."""
        device = repr(self._device_class)
        if goal.budget_ms is not None and not found:
            (fastest,) = self._evolved(_FASTEST, Evolution(2, 0), [self._fastest])
            return (
                f"no subnet takes at most {goal.budget_ms:g} ms on {device}; the fastest is "
                f"{fastest.described}"
            )
        found = found or self._evolved(_MOST_ACCURATE, evolution, [self._fastest])
        within = "" if goal.budget_ms is None else f" within {goal.budget_ms:g} ms"
        return (
            f"no subnet was found that reaches accuracy {goal.min_accuracy:g}{within} on {device}; "
            f"the most accurate found is {found[0].described}"
        )
