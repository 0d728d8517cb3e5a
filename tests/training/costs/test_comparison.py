"""Finished runs side by side: laws of hypervolume, collecting, the benchmark that prints."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supernet import artifact
from supernet.artifact import Description
from supernet.catalog import Catalog, CatalogEntry
from supernet.manifest import Ledger, Phase, Preprocessing
from supernet.model import Supernet
from training.costs.comparison import (
    REFERENCE_ACCURACY,
    Run,
    by_recipe,
    collect,
    figures,
    hypervolume,
    largest_macs,
    mean_catalog,
    mean_figures,
    read_comparisons,
)
from training.recipe import read_recipe

ROOT = Path(__file__).parents[3]


def _entry(number: int, macs: int, accuracy: float, test: float | None) -> CatalogEntry:
    return CatalogEntry(
        subnet=f"d2-{number + 1}@16", accuracy=accuracy, test_accuracy=test, macs=macs, parameters=1
    )


entries = st.lists(st.tuples(st.integers(1, 10**6), st.floats(0.0, 1.0)), max_size=12).map(
    lambda pairs: Catalog(
        entries=tuple(_entry(i, macs, accuracy, None) for i, (macs, accuracy) in enumerate(pairs))
    )
)


@given(entries)
def test_hypervolume_is_the_area_that_some_subnet_dominates(catalog: Catalog) -> None:
    """Decade by decade: the best accuracy at most that many MACs buy."""
    reference = 10**7
    cuts = sorted({entry.macs for entry in catalog.entries} | {reference})
    area = 0.0
    for macs, end in itertools.pairwise(cuts):
        best = max(e.accuracy for e in catalog.entries if e.macs <= macs)
        area += 100 * max(0.0, best - REFERENCE_ACCURACY) * math.log10(end / macs)
    assert hypervolume(catalog, reference) == pytest.approx(area)


@given(entries, st.integers(1, 10**6), st.floats(0.0, 1.0))
def test_one_more_subnet_never_takes_hypervolume_away(
    catalog: Catalog, macs: int, accuracy: float
) -> None:
    more = Catalog(entries=(*catalog.entries, _entry(50, macs, accuracy, None)))
    assert hypervolume(more, 10**7) >= hypervolume(catalog, 10**7) - 1e-9


def test_hypervolume_counts_what_was_chosen_on_validation() -> None:
    chosen = _entry(0, 1000, accuracy=0.9, test=0.85)
    luckier = _entry(1, 1000, accuracy=0.8, test=0.95)
    assert hypervolume(Catalog(entries=(chosen, luckier)), 10_000) == pytest.approx(5.0)


@pytest.fixture
def ledger() -> Ledger:
    phases = [
        Phase(name="a", epochs=1, images=100, macs=10**12, hours=0.25, energy_kwh=0.125),
        Phase(name="b", epochs=2, images=200, macs=2 * 10**12, hours=0.5, energy_kwh=0.25),
    ]
    return Ledger(
        recipe="compofa",
        recipe_sha256=read_recipe("compofa").sha256,
        code_version="0.1.0",
        seed=3,
        hardware="a processor",
        threads=1,
        torch_version="2",
        train_images=100,
        validation_images=10,
        phases=tuple(phases),
        energy_kwh=0.375,
        finished="2026-01-01T00:00:00+00:00",
    )


def test_figures_by_hand(ledger: Ledger) -> None:
    low = CatalogEntry(subnet="d2-2@12", accuracy=0.9, test_accuracy=0.82, macs=1000, parameters=1)
    full = [_entry(1, 2000, 0.91, 0.9), _entry(2, 4000, 0.92, 0.94)]
    found = figures(Run("r", "c", ledger, Catalog(entries=(low, *full))), 4000)
    assert found.mean == pytest.approx(0.92)
    assert (found.worst, found.best) == (0.9, 0.94)
    assert found.mean_of_all == pytest.approx((0.82 + 0.9 + 0.94) / 3)
    assert found.hypervolume == pytest.approx(2 * math.log10(2) + 10 * math.log10(2))
    assert (found.macs, found.hours, found.energy_kwh) == (3 * 10**12, 0.75, 0.375)
    assert mean_figures([found, found]) == found


def test_the_mean_of_runs_is_a_subnet_s_over_all(ledger: Ledger) -> None:
    catalogs = [
        Catalog(entries=(_entry(1, 10, 0.8, 0.7), _entry(2, 20, 0.9, 0.9))),
        Catalog(entries=(_entry(1, 10, 0.9, 0.9), _entry(2, 20, 0.9, None))),
    ]
    small, large = mean_catalog([Run("r", "c", ledger, c) for c in catalogs]).entries
    assert [small.accuracy, small.test_accuracy] == pytest.approx([0.85, 0.8])
    assert large.accuracy == pytest.approx(0.9)
    assert (large.test_accuracy, large.macs) == (None, 20)
    with pytest.raises(ValueError, match="shorter"):
        mean_catalog([Run("r", "c", ledger, c) for c in (catalogs[0], Catalog())])


def test_energy_that_was_not_always_measured_has_no_mean(ledger: Ledger) -> None:
    catalog = Catalog(entries=(_entry(1, 10, 0.9, None),))
    blind = ledger.model_copy(update={"energy_kwh": None})
    parts = [figures(Run("r", "c", known, catalog), 100) for known in (ledger, blind)]
    assert mean_figures(parts).energy_kwh is None
    assert mean_figures(parts).hours == 0.75


@pytest.fixture
def run_folder(
    tmp_path: Path, folded_supernet: Supernet, description: Description, ledger: Ledger
) -> Path:
    """What a finished run leaves behind, as far as it is looked at."""
    folder = tmp_path / "run"
    folder.mkdir()
    told = Description(
        description.name,
        Preprocessing(mean=(0.5,), std=(0.25,)),
        description.labels,
        description.catalog,
        ledger=ledger,
    )
    artifact.save(folder / "artifact", folded_supernet, told)
    (folder / "log.jsonl").write_text('{"phase": "b", "step": 9, "steps": 9}\n')
    return folder


def test_what_is_collected_is_read_again(
    run_folder: Path, tmp_path: Path, catalog: Catalog, ledger: Ledger
) -> None:
    kept = tmp_path / "kept"
    collect(run_folder, kept / "small" / "compofa-seed3")
    collect(run_folder, kept / "small" / "other", "compofa train other.toml")
    ((name, (first, second)),) = read_comparisons(kept).items()
    assert name == "small"
    assert (first.name, second.name) == ("compofa-seed3", "other")
    assert first.command == "compofa train compofa --seed 3"
    assert second.command == "compofa train other.toml"
    assert first.ledger == ledger
    assert first.catalog == catalog
    assert by_recipe([first, second]) == {"compofa": [first, second]}
    older = first.ledger.model_copy(update={"recipe_sha256": "0" * 64})
    changed = Run("older", "c", older, first.catalog)
    assert list(by_recipe([first, changed])) == [
        f"compofa {first.ledger.recipe_sha256[:8]}",
        "compofa 00000000",
    ]
    assert largest_macs([first]) == max(entry.macs for entry in catalog.entries)
    assert sum(p.stat().st_size for p in (kept / "small" / "other").iterdir()) < 10_000


@pytest.mark.parametrize("log", [None, "", '{"phase": "b", "step": 8, "steps": 9}\n'])
def test_an_unfinished_run_is_refused(run_folder: Path, tmp_path: Path, log: str | None) -> None:
    (run_folder / "log.jsonl").unlink()
    if log is not None:
        (run_folder / "log.jsonl").write_text(log)
    with pytest.raises(ValueError, match=r"log.jsonl does not end where the ledger does"):
        collect(run_folder, tmp_path / "kept" / "x" / "y")
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize(
    "changes", [{"recipe": "mine"}, {"recipe_sha256": "0" * 64}, {"start": "a net"}]
)
def test_what_no_shipped_recipe_makes_again_wants_its_command(
    tmp_path: Path, run_folder: Path, changes: dict[str, str]
) -> None:
    path = run_folder / "artifact" / "artifact.json"
    fields = json.loads(path.read_text())
    fields["ledger"] |= changes
    path.write_text(json.dumps(fields))
    with pytest.raises(ValueError, match="say with --command what made it"):
        collect(run_folder, tmp_path / "kept")
    collect(run_folder, tmp_path / "kept", "compofa train mine.toml")


def _benchmark(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    places = {"--kept": "kept", "--result": "result.json", "--pictures": "pictures"}
    given = [part for flag, name in places.items() for part in (flag, str(tmp_path / name))]
    return subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "recipes.py"), *given, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_benchmark_says_how_to_begin_and_then_compares(
    run_folder: Path, tmp_path: Path
) -> None:
    begin = _benchmark(tmp_path)
    assert begin.returncode == 0, begin.stderr
    assert "compofa train ofa --out runs/ofa" in begin.stdout
    failed = _benchmark(tmp_path, "--collect", str(tmp_path / "nowhere"), "x")
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1
    kept = _benchmark(
        tmp_path, "--collect", str(run_folder), "compofa-seed3", "--comparison", "small"
    )
    assert kept.returncode == 0, kept.stderr
    compared = _benchmark(tmp_path)
    assert compared.returncode == 0, compared.stderr
    assert "compofa-seed3: compofa train compofa --seed 3" in compared.stdout
    result = json.loads((tmp_path / "result.json").read_text())["small"]
    row = result["recipes"]["compofa"]
    assert row["macs"] == 3e12
    assert row["macs_over_compofa"] == 1.0
    assert result["runs"]["compofa-seed3"]["seed"] == 3
    assert (tmp_path / "pictures" / "recipes-small.png").stat().st_size > 10_000
