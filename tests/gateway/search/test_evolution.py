"""Evolution keeps to its goal, ends, and finds the best where that can be known."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gateway.search.evolution import Evolution, evolve
from gateway.search.genome import Genome
from gateway.select import Candidate, Goal
from supernet.architecture import Architecture
from supernet.block_latency import BlockLatency
from supernet.lookup_table import LookupTable
from supernet.population import Population
from tests.supernet.block_times import made_up, small_space

LARGE = small_space(((3, 5, 7),) * 5, (160, 192))
SMALL = small_space(((3, 5), (5,)), (32, 48))
Floats = NDArray[np.float64]


class Judge:
    """Latency from a table, accuracy from a small random net, and what was asked for."""

    def __init__(self, space: Any, seed: int) -> None:
        self.genome = Genome(space, space.resolutions)
        self.latency = BlockLatency(LookupTable(space, made_up(space, space.resolutions, seed), {}))
        rng = np.random.default_rng(seed)
        inputs = 2 * len(space.kernels) * max(space.depths) + 1
        self._layers = rng.normal(size=(inputs, 16)) / inputs**0.5, rng.normal(size=16) / 4
        self.asked: list[Population] = []

    def judged(self, population: Population) -> Floats:
        """More blocks, wider ones and larger images are mostly better, and all of it interacts."""
        blocks = np.stack((population.kernels / 7, population.expand_ratios / 6))
        wide = blocks.transpose(1, 0, 2, 3).reshape(len(population), -1)
        x = np.column_stack((wide, population.resolutions / self.genome.resolutions[-1]))
        hidden, out = self._layers
        value = 0.1 * x.sum(1) + np.tanh(2 * x @ hidden) @ out
        accuracy: Floats = 1 / (1 + np.exp(-value))
        return accuracy

    def accuracy(self, population: Population) -> Floats:
        self.asked.append(population)
        return self.judged(population)

    def search(
        self, goal: Goal, evolution: Evolution, start: Sequence[Architecture] = ()
    ) -> Candidate | None:
        return evolve(self.genome, self.accuracy, self.latency, goal, evolution, start)


def within(budget_ms: float | None) -> Goal:
    return Goal(budget_ms, None, "accuracy")


def scores(judge: Judge, rows: int, seed: int = 0) -> tuple[Floats, Floats]:
    """Accuracy and latency of random architectures."""
    genome = judge.genome
    population = genome.population(genome.random(np.random.default_rng(seed), rows))
    return judge.judged(population), judge.latency(population)


@given(seed=st.integers(0, 2**32), share=st.floats(0.01, 1.0))
@settings(max_examples=10)
def test_the_budget_is_met(seed: int, share: float) -> None:
    judge = Judge(LARGE, seed % 7)
    budget = float(np.quantile(scores(judge, 1000)[1], share))
    found = judge.search(within(budget), Evolution(20, 15, seed))
    assert found is not None
    arch = Architecture.parse(found.subnet)
    population = Population.of(LARGE, [arch])
    assert found.latency_ms == judge.latency(population)[0] <= budget
    assert found.accuracy == pytest.approx(judge.judged(population)[0], rel=1e-12)  # another order
    assert found.resolution == arch.resolution
    assert all((judge.latency(asked) <= budget).all() for asked in judge.asked)


def test_the_same_seed_finds_the_same() -> None:
    judge = Judge(LARGE, 0)
    goal = within(float(np.median(scores(judge, 1000)[1])))
    found = [judge.search(goal, Evolution(20, 20, seed)) for seed in (3, 3, 4)]
    assert found[0] == found[1]
    assert found[0] != found[2]


@pytest.mark.parametrize("seed", range(3))
def test_it_beats_as_many_random_ones(seed: int) -> None:
    judge = Judge(LARGE, seed)
    accuracy, latency = scores(judge, 20_000, seed)
    budget = float(np.quantile(latency, 0.2))
    evolution = Evolution(40, 50, seed)
    found = judge.search(within(budget), evolution)
    evaluated = sum(map(len, judge.asked))
    assert evaluated <= evolution.population * (evolution.generations + 1)
    tried = accuracy[latency <= budget][:evaluated]
    assert len(tried) == evaluated
    assert found is not None
    assert found.accuracy > tried.max()


@pytest.fixture(scope="module")
def listed() -> tuple[Judge, Floats, Floats]:
    """A space small enough to list, with accuracy and latency of everything in it."""
    judge = Judge(SMALL, 1)
    rows = [range(n) for n in judge.genome.options]
    genes = np.array(list(itertools.product(*rows)), np.uint8)
    population = judge.genome.population(genes)
    return judge, judge.judged(population), judge.latency(population)


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 1.0])
def test_it_finds_the_most_accurate_of_a_space_that_can_be_listed(
    listed: tuple[Judge, Floats, Floats], share: float
) -> None:
    judge, accuracy, latency = listed
    budget = float(np.quantile(latency, share))
    found = judge.search(within(budget), Evolution(50, 60))
    assert found is not None
    assert found.accuracy == accuracy[latency <= budget].max()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_it_finds_the_fastest_that_is_accurate_enough(
    listed: tuple[Judge, Floats, Floats], share: float
) -> None:
    judge, accuracy, latency = listed
    least = float(np.quantile(accuracy, share))
    found = judge.search(Goal(None, least, "latency"), Evolution(50, 60))
    assert found is not None
    assert found.accuracy >= least
    assert found.latency_ms == pytest.approx(latency[accuracy >= least].min(), rel=1e-12)


def test_what_it_begins_with_is_never_lost() -> None:
    judge = Judge(LARGE, 0)
    accuracy, latency = scores(judge, 1000)
    best = int(accuracy.argmax())
    genome = judge.genome
    known = genome.population(genome.random(np.random.default_rng(0), 1000)).architecture(best)
    found = judge.search(within(latency[best]), Evolution(2, 0), [known])
    assert found is not None
    assert found.accuracy >= accuracy[best]
    # One at a resolution that is left out is no use.
    narrow = Genome(LARGE, [r for r in LARGE.resolutions if r != known.resolution])
    other = evolve(narrow, judge.accuracy, judge.latency, within(None), Evolution(4, 2), [known])
    assert other is not None
    assert other.resolution != known.resolution


def test_nothing_is_looked_at_twice_before_it_begins_anew() -> None:
    judge = Judge(LARGE, 0)
    judge.search(within(None), Evolution(30, 30, patience=1000))
    keys = [key for asked in judge.asked for key in asked.identities()]
    assert len(keys) == 30 * 31
    assert len(set(keys)) == len(keys)


def test_it_ends_where_nothing_is_left_or_nothing_fits() -> None:
    judge = Judge(SMALL, 0)
    assert judge.search(within(1e-9), Evolution(10, 10)) is None
    assert judge.search(Goal(None, 1.0, "latency"), Evolution(10, 10)) is None
    tiny = Judge(small_space(((3,),), (32,), compound=True), 0)
    found = tiny.search(within(None), Evolution(50, 100))
    assert found is not None
    assert Architecture.parse(found.subnet) in set(tiny.genome.space.enumerate())


@pytest.mark.parametrize(
    ("field", "value"),
    [("population", 1), ("generations", -1), ("seed", -1), ("parents", 1.5), ("mutants", -0.1),
     ("mutation", float("nan")), ("patience", 0), ("population", 10**9)],
)  # fmt: skip
def test_settings_that_make_no_sense(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field}: expected .* got {value}"):
        Evolution(**{field: value})  # type: ignore[arg-type]
