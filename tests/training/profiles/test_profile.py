"""Tables of this machine, measured for real on small nets."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from supernet.architecture import Architecture
from supernet.artifact import Artifact, load
from supernet.catalog import Catalog
from supernet.design_space import DesignSpace
from supernet.model import Supernet
from supernet.normalization import SubnetStatistics
from training.calibrate import calibrate
from training.profiles.engines import Setting
from training.profiles.parts import Parts
from training.profiles.profile import by_piece, by_subnet, is_worth_pieces, profile


def test_a_table_has_every_subnet_and_says_how_it_was_measured(cubic: Artifact) -> None:
    done: list[float] = []
    table, check = profile(cubic, "here", runs=3, default_budget_ms=2.5, advance=done.append)
    subnets = {arch.id for arch in cubic.supernet.space.enumerate()}
    assert set(table.latency_ms) == set(table.p95_ms) == set(table.std_ms) == subnets
    assert check is None
    assert sum(done) == pytest.approx(len(subnets))
    assert (table.kind, table.measured, table.default_budget_ms) == ("measured", True, 2.5)
    assert table.source.startswith("measured: ")
    assert table.source.endswith(", 1 thread, torch")
    assert table.artifact_hash == cubic.manifest.artifact_hash
    assert all(table.p95_ms[subnet] >= ms for subnet, ms in table.latency_ms.items())
    told = {"processor", "threads", "pinned", "engine", "precision", "batch_size", "by", "runs"}
    assert table.conditions.keys() >= told | {"discarded"}
    assert table.conditions["engine"] == f"torch {torch.__version__}"


def test_pieces_are_summed_for_every_subnet_and_checked(cubic: Artifact) -> None:
    archs = list(cubic.supernet.space.enumerate())
    plan = by_piece(cubic.supernet, archs)
    assert plan.size == 2 * (11 + 6 + 6)
    table, check = profile(cubic, "here", plan, Setting(batch_size=2), runs=3)
    assert set(table.latency_ms) == {arch.id for arch in archs}
    assert table.p95_ms == table.std_ms == {}
    assert table.measured
    assert table.source.startswith("measured by pieces: ")
    assert table.conditions["batch_size"] == "2"
    assert check is not None
    assert check.subnets == 12
    assert table.conditions["held_out"] == str(check)
    for resolution in (16, 24):  # nine blocks take longer than three, whatever else goes on
        largest, smallest = (table.latency_ms[f"d{d}-{d}-{d}@{resolution}"] for d in (3, 1))
        assert largest > smallest


def test_whole_subnets_are_spread_and_the_same_at_each_resolution(cubic: Artifact) -> None:
    plan = by_piece(cubic.supernet, cubic.supernet.space.enumerate(), fitted=3, held_out=4)
    assert not set(plan.fitted) & set(plan.held_out)
    for chosen, count in ((plan.fitted, 3), (plan.held_out, 4)):
        depths = [subnet.partition("@")[0] for subnet in chosen]
        assert depths[:count] == depths[count:]
        assert len(set(depths)) == count
    assert plan.fitted[0] == "d1-1-1@16"
    assert plan.fitted[2] == "d3-3-3@16"


def test_too_few_subnets_are_measured_whole(space: DesignSpace, folded_supernet: Supernet) -> None:
    archs = list(space.enumerate())
    assert not is_worth_pieces(archs)
    assert not is_worth_pieces([])
    with pytest.raises(
        ValueError, match="expected at least 12 subnets a resolution, there are 9 a"
    ):
        by_piece(folded_supernet, archs)


def test_a_net_with_statistics_for_each_subnet_has_pieces_to_time(cubic: Artifact) -> None:
    """The numbers of a part differ from subnet to subnet, and not how long it takes."""
    space = cubic.supernet.space
    supernet = Supernet(space)
    archs = [Architecture((depth,) * 3, 16) for depth in space.depths]
    calibrate(supernet, [torch.randn(4, 3, 16, 16)], archs)
    assert isinstance(supernet.normalization, SubnetStatistics)
    plan = by_subnet(supernet, [*archs, Architecture((1, 2, 3), 16)])
    table, _ = profile(Artifact(cubic.manifest, supernet), "here", plan, runs=1)
    assert len(table.latency_ms) == 4
    with pytest.raises(ValueError, match=r"subnet d1-2-3@16: it has no batch-norm statistics"):
        Parts(supernet, [Architecture((1, 2, 3), 16)])


def test_threads_are_set_back(cubic: Artifact) -> None:
    before = torch.get_num_threads()
    plan = by_subnet(cubic.supernet, [cubic.supernet.space.smallest])
    profile(cubic, "here", plan, runs=1)
    with pytest.raises(ValueError, match="threads: expected at most"):
        profile(cubic, "here", plan, Setting(num_threads=1000), runs=1)
    assert torch.get_num_threads() == before


def test_the_catalog_says_what_is_measured(artifact_folder: Path) -> None:
    loaded = load(artifact_folder)
    listed = Catalog(entries=loaded.manifest.catalog.entries[3:5])
    manifest = loaded.manifest.model_copy(update={"catalog": listed})
    table, _ = profile(Artifact(manifest, loaded.supernet), "here", runs=1)
    assert list(table.latency_ms) == sorted(listed.subnets())
