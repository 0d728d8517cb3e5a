"""What runs cost, from measurements of segments."""

import pytest

pytest.importorskip("openvino")

from gateway.engines.chain_programs import ChainPrograms
from gateway.engines.costs import Costs, Line, measure
from gateway.engines.openvino_backend import OpenvinoBackend
from gateway.engines.segments import segments
from supernet.design_space import DesignSpace
from supernet.extract import pieces
from supernet.model import Supernet


def test_a_subnet_is_the_sum_of_its_segments(space: DesignSpace) -> None:
    lines = {(s.name, r): Line(1.0, r / 4) for s in segments(space) for r in space.resolutions}
    line = Costs(space, lines).of(space.largest.id)
    assert line.ms(3) == pytest.approx(2 * (1.0 + 3 * 4.0)), "two units and head are two segments"


def test_a_line_goes_through_both_measurements() -> None:
    line = Line.through(few_ms=1.5, many_ms=5.0)
    assert [line.ms(1), line.ms(8)] == pytest.approx([1.5, 5.0])


def test_between_two_lines() -> None:
    low, high = Line(1.0, 2.0), Line(3.0, 6.0)
    assert low.towards(high, 0.0) == low
    assert low.towards(high, 1.0) == high
    assert low.towards(high, 0.25) == Line(1.5, 3.0)


def test_noise_makes_nothing_cheaper_than_nothing() -> None:
    assert Line.through(few_ms=2.0, many_ms=1.0) == Line(2.0, 0.0)
    assert Line.through(few_ms=0.1, many_ms=8.0).fixed_ms == 0.0


def test_measures_every_subnet_and_keeps_it(folded_supernet: Supernet) -> None:
    space, backend = folded_supernet.space, OpenvinoBackend()
    runners = ChainPrograms(space, backend, lambda: pieces(folded_supernet)).runners()
    costs = measure(space, backend, runners)
    again = Costs.from_json(space, costs.to_json())
    for arch in space.enumerate():
        assert costs.of(arch.id).ms(1) > 0
        assert again.of(arch.id) == costs.of(arch.id)


def test_costs_of_another_space_are_refused(space: DesignSpace) -> None:
    with pytest.raises(ValueError, match="another design space"):
        Costs.from_json(space, Costs(space, {}).to_json())
