"""The ledger: sums, a commit that can be checked out, and no figure where none was measured."""

from __future__ import annotations

import io
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from supernet.manifest import Ledger, Phase
from supernet.version import version
from training.costs import ledger
from training.costs.estimate import estimate
from training.recipe import Recipe, read_recipe

MakeRecipe = Callable[..., Recipe]


def _phase(name: str, **changes: float) -> Phase:
    fields = {"epochs": 1.0, "images": 100, "macs": 3000, "hours": 0.5} | changes
    return Phase.model_validate({"name": name} | fields)


def _build(
    recipe: Recipe,
    *phases: Phase,
    energy_source: str | None = None,
    settings: tuple[str, ...] = ("a machine",),
) -> Ledger:
    return ledger.build(
        recipe,
        phases,
        train_images=200,
        validation_images=10,
        threads=2,
        energy_source=energy_source,
        settings=settings,
    )


def test_adds_up_its_phases(make_recipe: MakeRecipe) -> None:
    built = _build(
        make_recipe(),
        _phase("a", energy_kwh=0.25, co2_kg=0.1),
        _phase("b", energy_kwh=0.5, co2_kg=0.2, hours=1.5),
        energy_source="a meter",
    )
    assert (built.images, built.macs, built.hours) == (200, 6000, 2.0)
    assert built.energy_kwh == 0.75
    assert built.co2_kg == pytest.approx(0.3)
    assert built.energy_source == "a meter"
    assert {"python", "numpy"} <= built.versions.keys()
    assert (built.device, built.processes, built.precision) == ("cpu", 1, "float32")
    assert Ledger.model_validate_json(built.model_dump_json()) == built


def test_a_phase_that_was_not_measured_leaves_no_sum(make_recipe: MakeRecipe) -> None:
    built = _build(make_recipe(), _phase("a", energy_kwh=0.25, co2_kg=0.1), _phase("b"))
    assert built.energy_kwh is None
    assert built.co2_kg is None


def test_a_ledger_written_before_these_fields_is_read(make_recipe: MakeRecipe) -> None:
    built = _build(make_recipe(), _phase("a"))
    old = built.model_dump(
        include={
            "recipe", "recipe_sha256", "code_version", "seed", "hardware", "threads",
            "torch_version", "train_images", "validation_images", "phases", "finished",
        }
    )  # fmt: skip
    assert Ledger.model_validate(old).processes == 1


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one commit and one file."""

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True)

    (tmp_path / "code.py").write_text("1\n")
    git("init", "--quiet")
    git("add", "code.py")
    git("commit", "--quiet", "--message", "first")
    return tmp_path


def test_the_version_names_the_commit_and_whether_it_is_all(checkout: Path) -> None:
    clean = ledger.code_version(checkout)
    full = (checkout / ".git" / "refs" / "heads").iterdir()
    commit = next(full).read_text()[:12]
    assert clean == f"{version()}+g{commit}"
    (checkout / "notes.txt").write_text("git does not know it\n")
    assert ledger.code_version(checkout) == clean
    (checkout / "code.py").write_text("2\n")
    assert ledger.code_version(checkout) == f"{clean}.dirty"


def test_a_commit_of_another_project_is_not_named(checkout: Path, tmp_path: Path) -> None:
    installed = checkout / "site-packages"
    installed.mkdir()
    assert ledger.code_version(installed) == version()
    assert ledger.code_version(tmp_path / "nowhere") == version()


def _printed(built: Ledger, recipe: Recipe, width: int = 120) -> str:
    out = io.StringIO()
    ledger.print_account(built, estimate(recipe, 55000), Console(file=out, width=width))
    return out.getvalue()


def _row(text: str, name: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.strip().startswith(name))
    return re.split(r"\s{2,}", line.strip())


def test_the_account_says_what_was_spent_and_what_others_would_have() -> None:
    recipe = read_recipe("fast")
    measured = {"energy_kwh": 0.125, "co2_kg": 0.0625, "waiting_hours": 0.05}
    phases = [
        _phase(name, images=3600, hours=0.5, macs=10**13, **measured) for name in ("grow", "shrink")
    ]
    text = _printed(_build(recipe, *phases, energy_source="a meter"), recipe)
    cells = ["3,600", "10 T", "0.5", "2", "10.0%", "0.125", "0.0625"]
    assert _row(text, "grow") == ["grow", *cells]
    assert _row(text, "in all")[1:4] == ["7,200", "20 T", "1"]
    ratio = estimate(recipe, 55000).published[0].macs / (2 * 10**13)
    assert f"{ratio:.2f}x" in text
    assert "OFA's schedule for the same epochs" in text
    assert "Energy: a meter." in text
    assert "On a machine." in text
    assert "changed on the way" not in text


def test_the_account_fits_a_terminal() -> None:
    recipe = read_recipe("fast")
    measured = {"energy_kwh": 1234.5, "co2_kg": 0.000123, "waiting_hours": 3.05}
    phase = _phase("compound-2", images=231_000_000, hours=123.4, macs=10**18, **measured)
    built = _build(recipe, phase, settings=("a machine with a rather long name " * 4,))
    text = _printed(built, recipe, width=80)
    cells = ["231,000,000", "1 E", "123", "520", "2.5%", "1.23e+03", "0.000123"]
    assert _row(text, "compound-2") == ["compound-2", *cells]


def test_the_account_says_where_hours_compare_with_nothing() -> None:
    recipe = read_recipe("fast")
    text = _printed(_build(recipe, _phase("grow"), settings=("one", "another")), recipe)
    assert "On one.\nOn another.\nThe settings changed on the way" in text


def test_the_account_makes_no_figure_up() -> None:
    recipe = read_recipe("fast")
    text = _printed(_build(recipe, _phase("grow")), recipe)
    assert _row(text, "grow")[-3:] == ["-", "-", "-"]
    assert "Energy: not measured." in text
