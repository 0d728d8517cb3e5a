"""The ledger of a finished run: what it cost, on what, and by which code; and how it is printed.

Knows nothing of how the run went about it; `estimate` says beforehand what it will
cost.
"""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from supernet.manifest import Ledger, Phase
from supernet.version import version
from training.costs.estimate import Estimate, print_published, readable_macs
from training.profiles.portable.machine import processor
from training.recipe import Recipe

_LIBRARIES = ("numpy", "pillow", "safetensors")
_CODE = Path(__file__).resolve().parents[2]


def build(
    recipe: Recipe,
    phases: Sequence[Phase],
    *,
    train_images: int,
    validation_images: int,
    evaluation_images: int | None = None,
    threads: int,
    processes: int = 1,
    device: torch.device | None = None,
    start: str | None = None,
    energy_source: str | None = None,
    settings: Sequence[str] = (),
) -> Ledger:
    """The ledger of `recipe`, which went through `phases`.

    `start` names the net it began with, None for random weights; `energy_source` says how the
    phases' energy was measured, or why there is none; `settings` are all that it ran on.
    """
    device = device or torch.device("cpu")
    return Ledger(
        recipe=recipe.name,
        recipe_sha256=recipe.sha256,
        code_version=code_version(),
        seed=recipe.seed,
        start=start,
        hardware=hardware(device, processes),
        device=device.type,
        precision=recipe.precision,
        processes=processes,
        threads=threads,
        torch_version=torch.__version__,
        versions=versions(),
        train_images=train_images,
        validation_images=validation_images,
        evaluation_images=evaluation_images,
        phases=tuple(phases),
        energy_kwh=_sum([phase.energy_kwh for phase in phases]),
        co2_kg=_sum([phase.co2_kg for phase in phases]),
        energy_source=energy_source,
        settings=tuple(settings),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _sum(parts: Sequence[float | None]) -> float | None:
    """The sum; None where a part is missing, because a part is not the whole."""
    known = [part for part in parts if part is not None]
    return sum(known) if known and len(known) == len(parts) else None


def hardware(device: torch.device, processes: int) -> str:
    """The processor's name, or the accelerators' and how many there are."""
    if device.type != "cuda":
        return processor()
    name = torch.cuda.get_device_name(device)
    return name if processes == 1 else f"{processes} x {name}"


def setting(hardware: str, processes: int, threads: int, precision: str) -> str:
    """What hours depend on besides the recipe, in words."""
    parts = [
        hardware,
        f"{processes} process(es) of {threads} thread(s)",
        precision,
        f"torch {torch.__version__}",
        f"compofa {code_version()}",
    ]
    return ", ".join(parts)


def versions() -> dict[str, str]:
    """Of Python and of the libraries besides torch that have a part in the numbers."""
    found = {"python": platform.python_version()}
    return found | {name: metadata.version(name) for name in _LIBRARIES}


def code_version(code: Path = _CODE) -> str:
    """The project's version, with `+g<commit>` where `code` is a checkout of its own, and
    `.dirty` where a file that git knows has been changed."""
    top = _git(code, "rev-parse", "--show-toplevel")
    commit = _git(code, "rev-parse", "--short=12", "HEAD")
    if top is None or commit is None or Path(top).resolve() != code.resolve():
        return version()
    changed = _git(code, "status", "--porcelain", "--untracked-files=no")
    return f"{version()}+g{commit}{'.dirty' if changed else ''}"


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says, or None: it is not there, or `folder` is not its."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def print_account(ledger: Ledger, estimate: Estimate | None, console: Console) -> None:
    """What was spent, a row a phase, and the published schedules of `estimate` below."""
    table = Table(title=f"What {ledger.recipe} cost", box=box.SIMPLE, padding=(0, 1, 0, 0))
    headings = ("phase", "images", "MACs", "hours", "images/s", "waiting", "kWh", "kg CO2")
    for heading in headings:
        first = heading == "phase"
        table.add_column(heading, justify="left" if first else "right", no_wrap=not first)
    for phase in ledger.phases:
        table.add_row(*_cells(phase))
    table.add_section()
    table.add_row(*_cells(_whole(ledger)))
    console.print(table)
    if estimate:
        print_published(estimate.published, ledger.macs, console)
    for text in ledger.settings:
        console.print(f"On {text}.", highlight=False)
    if len(ledger.settings) > 1:
        console.print("The settings changed on the way: the hours compare with no other run's.")
    console.print(f"Energy: {ledger.energy_source or 'not measured'}.", highlight=False)


def _whole(ledger: Ledger) -> Phase:
    """The sum over all phases, as if they were one."""
    return Phase(
        name="in all",
        epochs=sum(phase.epochs for phase in ledger.phases),
        images=ledger.images,
        macs=ledger.macs,
        hours=ledger.hours,
        waiting_hours=_sum([phase.waiting_hours for phase in ledger.phases]),
        energy_kwh=ledger.energy_kwh,
        co2_kg=ledger.co2_kg,
    )


def _cells(phase: Phase) -> list[str]:
    rate = share = "-"
    if phase.hours:
        rate = f"{phase.images / phase.hours / 3600:,.0f}"
    if phase.hours and phase.waiting_hours is not None:
        share = f"{phase.waiting_hours / phase.hours:.1%}"
    energy = ["-" if v is None else f"{v:.3g}" for v in (phase.energy_kwh, phase.co2_kg)]
    cells = [phase.name, f"{phase.images:,}", readable_macs(phase.macs), f"{phase.hours:.3g}"]
    return [*cells, rate, share, *energy]
