"""An evolutionary search for spaces too large to list, over whole populations at a time.

It follows Once-for-All's (Cai et al., ICLR 2020, section 3.4): the best quarter stays, half of
the others are its mutants and half its crossings, and what breaks the budget is drawn again. Three
things differ: nothing is looked at twice, every draw has an end, and a search that finds nothing
better for a while begins anew. Knows nothing of tables, predictors or torch: latency and accuracy
are functions of a population.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from gateway.search.genome import Genes, Genome
from gateway.select import Candidate, Goal
from supernet.architecture import Architecture
from supernet.population import Population

Floats = NDArray[np.floating]
Score = Callable[[Population], Floats]
"""Latency in ms, infinite where unknown, or accuracy in [0, 1], of each architecture: [N]."""

_DRAWS = 10  # so often twice as many as are missing, before a generation does with fewer


@dataclass(frozen=True, slots=True)
class Evolution:
    """How to search; the defaults are those of Once-for-All's code, which never begins anew.

    `parents` is the share of a population that stays, `mutants` that of mutants among the new
    ones, `mutation` the probability that a mutant's choice is drawn again. After `patience`
    generations without a better one the search begins anew.
    """

    population: int = 100
    generations: int = 500
    seed: int = 0
    parents: float = 0.25
    mutants: float = 0.5
    mutation: float = 0.1
    patience: int = 20

    def __post_init__(self) -> None:
        """Raises `ValueError` naming the field that is out of range."""
        for name, least, most in (
            ("population", 2, 100_000), ("generations", 0, 1_000_000), ("seed", 0, 2**64 - 1),
            ("parents", 0, 1), ("mutants", 0, 1), ("mutation", 0, 1), ("patience", 1, 1_000_000),
        ):  # fmt: skip
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"{name}: expected {least} to {most}, got {value}")


def evolve(
    genome: Genome,
    accuracy: Score,
    latency: Score,
    goal: Goal,
    evolution: Evolution,
    start: Sequence[Architecture] = (),
) -> Candidate | None:
    """The best architecture found that `goal` admits, or None. The same seed finds the same.

    Each generation asks for the accuracy of at most `evolution.population` architectures, all of
    them within the goal's budget and new since the search began. `start` are some to begin with
    beside random ones.
    """
    rng, left = np.random.default_rng(evolution.seed), evolution.generations
    known = [arch for arch in start if arch.resolution in genome.resolutions]
    first = genome.genes(Population.of(genome.space, known))
    found: list[Candidate] = []
    while left >= 0:
        search = _Search(genome, accuracy, latency, goal)
        left -= search.run(rng, evolution, first, left)
        best = search.best()
        found += [best] if best and goal.admits(best) else []
    return min(found, key=goal.order, default=None)


@dataclass(frozen=True, slots=True)
class _Pool:
    """Rows of genes [N, G] with their accuracy [N] and latency [N] in ms."""

    genes: Genes
    accuracy: Floats
    latency_ms: Floats

    def with_(self, other: _Pool) -> _Pool:
        return _Pool(
            np.concatenate((self.genes, other.genes)),
            np.concatenate((self.accuracy, other.accuracy)),
            np.concatenate((self.latency_ms, other.latency_ms)),
        )

    def rows(self, rows: NDArray[np.intp] | slice) -> _Pool:
        return _Pool(self.genes[rows], self.accuracy[rows], self.latency_ms[rows])


class _Search:
    """One search from its beginning until it finds nothing better: scores, ranks, remembers."""

    def __init__(self, genome: Genome, accuracy: Score, latency: Score, goal: Goal) -> None:
        self._genome, self._accuracy, self._latency = genome, accuracy, latency
        self._goal, self._seen = goal, set[bytes]()
        # What takes for ever is never within the limit.
        self._limit_ms = goal.budget_ms or np.finfo(np.float64).max
        self._pool = _Pool(genome.none, np.empty(0), np.empty(0))  # the best first

    def run(
        self, rng: np.random.Generator, evolution: Evolution, first: Genes, generations: int
    ) -> int:
        """Begin with `first` and go on for at most so many generations; how many there were,
        the beginning among them."""
        size, genome = evolution.population, self._genome
        kept, mutants = max(1, round(evolution.parents * size)), round(evolution.mutants * size)
        self._add(self._new(len(first), lambda _: first))
        self._add(self._new(size, partial(genome.random, rng)))
        idle, used = 0, 1
        while idle < evolution.patience and used <= generations and len(self._pool.genes):
            best, parents = self._pool.genes[0], self._pool.genes[:kept]
            crossed = self._new(size - mutants, partial(_crossed, rng, parents))
            mutated = self._new(  # and more of these where crossings bring nothing new
                size - len(crossed), partial(_mutated, genome, rng, evolution.mutation, parents)
            )
            self._pool = self._pool.rows(slice(kept))
            self._add(np.concatenate((crossed, mutated)))
            idle = idle + 1 if np.array_equal(best, self._pool.genes[0]) else 0
            used += 1
        return used

    def best(self) -> Candidate | None:
        pool = self._pool
        if not len(pool.genes):
            return None
        arch = self._genome.population(pool.genes[:1]).architecture(0)
        accuracy, latency_ms = float(pool.accuracy[0]), float(pool.latency_ms[0])
        return Candidate(arch.id, arch.resolution, accuracy, latency_ms)

    def _new(self, size: int, draw: Callable[[int], Genes]) -> Genes:
        """Up to `size` rows from `draw` that are within the budget and were never seen."""
        found = [self._genome.none]
        for _ in range(_DRAWS):
            missing = size - sum(map(len, found))
            if missing <= 0:
                break
            drawn = draw(2 * missing)
            population = self._genome.population(drawn)
            within = self._latency(population) <= self._limit_ms
            names = population.identities()
            fresh = {names[i]: i for i in np.flatnonzero(within) if names[i] not in self._seen}
            taken = dict(islice(fresh.items(), missing))
            self._seen.update(taken)
            found.append(drawn[list(taken.values())])
        return np.concatenate(found)

    def _add(self, genes: Genes) -> None:
        """Score rows and put them among the others, the best by the goal first."""
        if not len(genes):
            return
        population = self._genome.population(genes)
        scored = _Pool(genes, self._accuracy(population), self._latency(population))
        pool = self._pool.with_(scored)
        costs, gains = pool.latency_ms, -pool.accuracy
        if self._goal.prefer == "accuracy":
            order = np.lexsort((costs, gains))
        else:
            short = np.maximum(0.0, (self._goal.min_accuracy or 0.0) - pool.accuracy)
            order = np.lexsort((gains, costs, short))
        self._pool = pool.rows(order)


def _mutated(
    genome: Genome, rng: np.random.Generator, rate: float, parents: Genes, rows: int
) -> Genes:
    """Parents with each choice drawn again at a probability of `rate`."""
    chosen = parents[rng.integers(len(parents), size=rows)]
    return np.where(rng.random(chosen.shape) < rate, genome.random(rng, rows), chosen)


def _crossed(rng: np.random.Generator, parents: Genes, rows: int) -> Genes:
    """Each choice from one of two parents."""
    one, other = (parents[rng.integers(len(parents), size=rows)] for _ in range(2))
    return np.where(rng.random(one.shape) < 0.5, one, other)
