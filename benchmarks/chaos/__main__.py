"""Break things on purpose, and see what callers notice.

    python -m benchmarks.chaos [--only NAME] [--out FILE]

Each scenario is a module beside this one, has a folder and a time limit of its own, and starts real
gateways (and Envoys) on this machine, which end with it however it ends. Prints what was tried and
what happened; the exit status is 1 where something is not as it should be, or not all was tried.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from benchmarks.chaos.outcome import LIMITS_S, Outcome

RESULT = Path("benchmarks/results/chaos.json")


def main() -> int:
    given = _parsed()
    names = given.only or list(LIMITS_S)
    signal.signal(signal.SIGTERM, _ended)  # what has been started is ended on the way out
    done: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="compofa-chaos-") as folder:
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"  # of gateways: compiled once for all
        for name in names:
            began = time.monotonic()
            found = run(name, Path(folder) / name)
            done[name] = {"seconds": round(time.monotonic() - began, 1), "outcomes": found}
            print(f"{name}: {done[name]['seconds']} s", file=sys.stderr)
    _show(done)
    _keep(done, given.out)
    outcomes = [outcome for each in done.values() for outcome in each["outcomes"]]
    if any(outcome.is_skipped for outcome in outcomes):
        print("not all tried")
    return 0 if all(outcome.is_as_it_should_be for outcome in outcomes) else 1


def run(name: str, folder: Path) -> list[Outcome]:
    """What a scenario comes to, whatever becomes of it."""
    folder.mkdir(parents=True)
    found: list[Outcome] = []
    scenario = importlib.import_module(f"benchmarks.chaos.{name}")
    try:
        with _at_most(LIMITS_S[name]):
            found.extend(scenario.run(folder))
    except (Exception, pytest.fail.Exception) as error:  # a gateway did not start
        traceback.print_exc()
        found.append(Outcome("the scenario itself", f"{type(error).__name__}: {error}", False))
    return found


@contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    """Raise `TimeoutError` in what runs within, so that it takes down what it has set up."""
    before = signal.signal(signal.SIGALRM, _late)
    # Again and again, for it may be raised where it only ends one task of many.
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _late(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise TimeoutError("the scenario took too long")


def _ended(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise SystemExit(128 + number)


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--only", choices=LIMITS_S, action="append", help="may be repeated")
    parser.add_argument("--out", type=Path, help=f"{RESULT} when all are run")
    return parser.parse_args()


def _show(done: dict[str, dict[str, Any]]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 150)
    table = Table(title="What was tried, and what happened", title_justify="left")
    for column in ("scenario", "tried", "happened", "holds"):
        table.add_column(column)
    marks = {True: "yes", False: "[red]NO[/red]", None: "-"}
    not_tried = "[red]not tried[/red]"
    for name, each in done.items():
        for place, outcome in enumerate(each["outcomes"]):
            shown = name.replace("_", " ") if place == 0 else ""
            mark = not_tried if outcome.is_skipped else marks[outcome.holds]
            table.add_row(shown, outcome.tried, outcome.happened, mark)
        table.add_section()
    console.print(table)


def _keep(done: dict[str, dict[str, Any]], out: Path | None) -> None:
    """All of them are the result that is kept; some are kept where one asks for it."""
    out = out or (RESULT if set(done) == set(LIMITS_S) else None)
    if out is None:
        return
    scenarios = {
        name: {
            "seconds": each["seconds"],
            "outcomes": [
                {"tried": o.tried, "happened": o.happened, "holds": o.holds}
                for o in each["outcomes"]
            ],
        }
        for name, each in done.items()
    }
    document = {"date": datetime.now(UTC).date().isoformat(), "cpus": os.cpu_count()}
    out.write_text(json.dumps(document | {"scenarios": scenarios}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
