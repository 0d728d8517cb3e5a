"""The command `plan`: a table for people, one document, one line where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway.command_line import Cli, failed

QUICK = ("--rate", "50", "--deadline-ms", "200", "--attainment", "0.99")


@pytest.fixture
def asked(artifact_folder: Path, tmp_path: Path) -> list[str | Path]:
    cache = tmp_path / "compiled"
    return ["plan", artifact_folder, *QUICK, "--compile-cache", cache]


@pytest.fixture
def arrivals(tmp_path: Path) -> Path:
    """Fifty a second, for ten of them."""
    file = tmp_path / "arrivals.csv"
    file.write_text("".join(f"{0.02 * n}\n" for n in range(500)), "utf-8")
    return file


@pytest.mark.parametrize("recorded", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_plan(cli: Cli, asked: list[str | Path], arrivals: Path, recorded: bool) -> None:
    options = ("--arrivals", arrivals) if recorded else ()
    found = cli.json(*asked, "--device-class", "alpha", *options)
    assert isinstance(found, dict)
    rows = {row["replicas"]: row for row in found["rows"]}
    assert rows[found["replicas"]]["attainment"] >= 0.99
    assert found["capacity"] > 0


def test_a_mix_with_what_was_recorded(cli: Cli, asked: list[str | Path], arrivals: Path) -> None:
    mix = ("--device-class", "alpha=3", "--device-class", "beta")
    status, out, _ = cli(*asked, *mix, "--arrivals", arrivals, "--request-ms", "1")
    assert status == 0
    assert "replicas" in out
    assert "needed; one alone holds" in out


def test_a_recording_that_is_too_short_is_told_how_long_it_should_be(
    cli: Cli, asked: list[str | Path], tmp_path: Path
) -> None:
    file = tmp_path / "arrivals.csv"
    file.write_text("0\n0.1\n0.2\n0.3\n0.4\n", "utf-8")
    options = ("--device-class", "alpha", "--arrivals", file)
    assert "arrivals: expected at least 200, to last" in failed(cli(*asked, *options), 1)


@pytest.mark.parametrize(
    ("options", "says", "status"),
    [
        (("--device-class", "gamma"), "gamma", 1),
        (("--device-class", "alpha", "--min-accuracy", "0.999"), "accuracy", 1),
        (("--device-class", "alpha=none"), "alpha=none", 2),
        (("--device-class", "alpha=0"), "above 0", 2),
        (("--device-class", "alpha", "--rate", "-3"), "above 0", 2),
        (("--device-class", "alpha", "--attainment", "2"), "up to 1", 2),
        (("--device-class", "alpha", "--request-ms", "-1"), "0 or more", 2),
        (("--device-class", "alpha", "--deadline-ms", "0.0001"), "deadline of 0.0001 ms", 1),
    ],
)
def test_one_line_where_it_cannot_be(
    cli: Cli, asked: list[str | Path], options: tuple[str, ...], says: str, status: int
) -> None:
    assert says in failed(cli(*asked, *options), status)
