"""Ladders: from what an idle gateway chooses down to what costs the engine least."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.scheduling.ladder import Ladder, ladder
from gateway.select import Candidate, Goal, Tier

fractions = st.integers(0, 20).map(lambda n: n / 20)


@st.composite
def tiers(draw: st.DrawFn) -> tuple[Tier, dict[str, float]]:
    """Some candidates, and what each costs the engine; not all are served."""
    rows = draw(st.lists(st.tuples(fractions, st.integers(1, 20), st.integers(1, 20)), min_size=1))
    candidates = [
        Candidate(f"s{i}", 16, accuracy, float(ms)) for i, (accuracy, ms, _) in enumerate(rows)
    ]
    return Tier(candidates), {f"s{i}": float(cost) for i, (_, _, cost) in enumerate(rows)}


goals = st.one_of(
    st.builds(Goal, st.one_of(st.none(), st.floats(1, 20)), st.none(), st.just("accuracy")),
    st.builds(Goal, st.floats(1, 20), fractions, st.just("accuracy")),
    st.builds(Goal, st.none(), fractions, st.just("latency")),
)


@given(tiers(), goals)
def test_the_top_is_what_an_idle_gateway_chooses(
    tier: tuple[Tier, dict[str, float]], goal: Goal
) -> None:
    found = ladder(tier[0], goal, tier[1])
    best = goal.best(tier[0])
    assert (found.best if found else None) == best


@given(tiers(), goals)
def test_each_rung_satisfies_the_request_and_is_cheaper_than_those_above(
    tier: tuple[Tier, dict[str, float]], goal: Goal
) -> None:
    found = ladder(tier[0], goal, tier[1])
    if found is None:
        return
    costs = [tier[1][rung.subnet] for rung in found.rungs]
    assert all(goal.admits(rung) for rung in found.rungs)
    assert costs == sorted(set(costs), reverse=True)
    assert costs[-1] == min(tier[1][subnet] for subnet in found.subnets)


@given(tiers(), goals)
def test_it_knows_all_that_satisfies_the_request(
    tier: tuple[Tier, dict[str, float]], goal: Goal
) -> None:
    found, everything = ladder(tier[0], goal, tier[1]), tier[0].by_preference["accuracy"]
    admitted = {c.subnet: c for c in everything if c.subnet in tier[1] and goal.admits(c)}
    assert dict(found.subnets if found else {}) == admitted


def test_what_is_not_served_is_on_no_ladder() -> None:
    tier = Tier([Candidate("a", 16, 0.9, 2.0), Candidate("b", 16, 0.8, 1.0)])
    found = ladder(tier, Goal(None, None, "accuracy"), {"b": 1.0})
    assert found is not None
    assert [rung.subnet for rung in found.rungs] == ["b"]


def test_takes_part_in_no_batch_that_is_worse_than_its_own_rung() -> None:
    best, worst = Candidate("a", 16, 0.9, 2.0), Candidate("b", 16, 0.8, 1.0)
    both = Ladder((best, worst), {"a": best, "b": worst})
    assert both.accepts(best, 0.0)
    assert not both.accepts(worst, 0.0)
    assert both.accepts(worst, 1.0)
    assert not both.accepts(Candidate("c", 16, 1.0, 0.1), 1.0), "does not satisfy it"
