from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from gateway.engine import Resident, TorchEngine
from supernet.design_space import DesignSpace
from supernet.model import Supernet


@pytest.fixture
def engine(folded_supernet: Supernet) -> TorchEngine:
    return TorchEngine(folded_supernet)


@pytest.mark.parametrize("rows", [1, 3])
def test_equals_the_supernet(
    engine: TorchEngine, folded_supernet: Supernet, space: DesignSpace, rows: int
) -> None:
    for arch in (space.smallest, space.largest):
        x = torch.randn(rows, 1, arch.resolution, arch.resolution)
        logits, compute_ms = engine.run(arch.id, x)
        with torch.inference_mode():
            expected = folded_supernet(x, arch).numpy()
        assert np.abs(logits - expected).max() < 1e-5
        assert logits.shape == (rows, 10)
        assert compute_ms > 0


def test_a_subnet_is_built_once_however_many_ask(
    engine: TorchEngine, space: DesignSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []
    real, everyone = TorchEngine._built, threading.Barrier(8)

    def counted(self: TorchEngine, subnet: str) -> Resident:
        built.append(subnet)
        return real(self, subnet)

    monkeypatch.setattr(TorchEngine, "_built", counted)
    x = torch.zeros(1, 1, space.largest.resolution, space.largest.resolution)

    def ask(_: int) -> None:
        everyone.wait(10)
        engine.run(space.largest.id, x)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))
    assert built == [space.largest.id]


def test_the_bound_on_memory_holds(folded_supernet: Supernet, space: DesignSpace) -> None:
    unbounded = TorchEngine(folded_supernet)
    for arch in space.enumerate():
        unbounded.prepare(arch.id)
    bound = unbounded.resident_bytes // 3
    engine = TorchEngine(folded_supernet, max_resident_bytes=bound)
    for arch in space.enumerate():
        engine.prepare(arch.id)
        assert 0 < engine.resident_bytes <= bound


def test_the_least_recently_used_goes_first(folded_supernet: Supernet, space: DesignSpace) -> None:
    first, second, third = list(space.enumerate())[:3]
    sizes = TorchEngine(folded_supernet)
    for arch in (first, second, third):
        sizes.prepare(arch.id)
    engine = TorchEngine(folded_supernet, max_resident_bytes=sizes.resident_bytes - 1)
    for arch in (first, second, first, third):
        engine.prepare(arch.id)
    assert list(engine._residents) == [first.id, third.id]


def test_a_subnet_above_the_bound_still_runs(folded_supernet: Supernet, space: DesignSpace) -> None:
    engine = TorchEngine(folded_supernet, max_resident_bytes=1)
    for arch in (space.smallest, space.largest):
        logits, _ = engine.run(arch.id, torch.zeros(1, 1, arch.resolution, arch.resolution))
        assert np.isfinite(logits).all()
        assert list(engine._residents) == [arch.id]


def test_a_build_that_fails_leaves_nothing_behind(engine: TorchEngine) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="expected 2 depths"):
            engine.prepare("d9-9@16")
    assert engine.resident_bytes == 0
    assert not engine._residents
