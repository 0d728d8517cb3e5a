"""`tables transfer`: what it asks for, what it makes of it, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from supernet.latency import read_bundled_tables
from tests.gateway.command_line import Cli, failed


def test_a_class_from_the_measurements_it_asked_for(
    cli: Cli, artifact_folder: Path, tmp_path: Path
) -> None:
    own = ["tables", "transfer", "--artifact", artifact_folder, "--from", "alpha"]
    picked = cli.json(*own, "--pick", 5)
    status, out, err = cli(*own, "--pick", 5)
    assert (status, out.split(), err) == (0, picked, "")
    assert isinstance(picked, list)
    assert len(set(picked)) == 5

    alpha = read_bundled_tables(artifact_folder)[0]
    file = tmp_path / "measured.json"
    file.write_text(json.dumps({subnet: 3 * alpha.latency_ms[subnet] for subnet in picked}))
    new = ["--measurements", file, "--device-class", "phone", "--default-budget-ms", 9]
    status, out, err = cli(*own, *new)
    assert (status, err) == (0, "")
    assert out == (
        "phone: version 1, 18 subnets, transferred from alpha by 5 measurements, expected error "
        "0.0%, leaving out one measurement at a time\n"
    )
    (phone,) = (
        t for t in cli.json("tables", "list", "--artifact", artifact_folder) if t["name"] == "phone"  # type: ignore[attr-defined]
    )  # fmt: skip
    assert (phone["kind"], phone["subnets"], phone["default_budget_ms"]) == ("transferred", 18, 9.0)
    show = ["tables", "export", "--artifact", artifact_folder, "--device-class", "phone"]
    table = json.loads(cli(*show)[1])
    assert table["measured"] is False
    assert table["latency_ms"] == {
        subnet: pytest.approx(3 * ms, rel=1e-3) for subnet, ms in alpha.latency_ms.items()
    }
    # And from there to a third, by a table as a device writes it.
    file.write_text(json.dumps(table))
    again = ["--from", "phone", "--measurements", file, "--device-class", "third"]
    assert cli(*own, *again)[0] == 0


def test_measurements_that_do_not_fit_are_warned_of_or_refused(
    cli: Cli, artifact_folder: Path, tmp_path: Path
) -> None:
    own = ["tables", "transfer", "--artifact", artifact_folder, "--from", "alpha"]
    picked = cli.json(*own, "--pick", 8)
    assert isinstance(picked, list)
    alpha, file = read_bundled_tables(artifact_folder)[0], tmp_path / "measured.json"
    new = ["--measurements", file, "--device-class", "phone"]
    measured = {subnet: alpha.latency_ms[subnet] for subnet in picked}
    measured[picked[4]] *= 1.6
    file.write_text(json.dumps(measured))
    status, out, err = cli(*own, *new)
    assert (status, err.count("\n")) == (0, 1)
    assert "phone: version 1" in out
    assert f"least of all {picked[4]} with {measured[picked[4]]:g} ms" in err
    file.write_text(json.dumps({subnet: 8.0 ** (i % 2) for i, subnet in enumerate(picked)}))
    assert "measure" in failed(cli(*own, *new))


@pytest.mark.parametrize(
    ("measured", "message"),
    [
        ('{"d2-2@12": 1.0, "d2-2@16": 2.0}', "expected at least 3 measured subnets, got 2"),
        ('{"d2-2@12": 1, "d2-2@16": 2, "d9-9@16": 3}', "not in the artifact's catalog: d9-9@16"),
        ('{"d2-2@12": 1, "d2-2@16": 2, "d4-4@16": NaN}', "latency_ms.d4-4@16: Input should be"),
        ('{"d2-2@12": 1, "d2-2@16": 2, "d4-4@16": -3}', "latency_ms.d4-4@16: Input should be"),
        ('{"d2-2@12": 1, "d2-2@16": 2, "d4-4@16": 9e9}', "latency_ms.d4-4@16: expected 0.001 to"),
        ('{"d2-2@12": 1, "d2-2@16": 1e5, "d4-4@16": 0.01}', "the measurements fit no device"),
        ("{}", "latency_ms: Dictionary should have at least 1 item"),
        ("[]", "expected a JSON object"),
        ("x", "not a JSON document"),
    ],
)
def test_measurements_of_no_use_are_one_line(
    cli: Cli, artifact_folder: Path, tmp_path: Path, measured: str, message: str
) -> None:
    file = tmp_path / "measured.json"
    file.write_text(measured)
    own = ["--artifact", artifact_folder, "--from", "alpha", "--device-class", "phone"]
    assert message in failed(cli("tables", "transfer", *own, "--measurements", file))
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--pick", 3], 2, "required: --from"),
        (["--from", "alpha"], 2, "one of the arguments --pick --measurements is required"),
        (["--from", "alpha", "--pick", 3, "--measurements", "x"], 2, "not allowed with"),
        (["--from", "alpha", "--measurements", "x"], 2, "required: --device-class"),
        (["--from", "alpha", "--pick", "few"], 2, "invalid int value"),
        (["--from", "gamma", "--pick", 3], 1, "'gamma': is not known; there are alpha, beta"),
        (["--from", "alpha", "--pick", 2], 1, "expected from 3 to 18 subnets to measure, got 2"),
        (["--from", "alpha", "--pick", 19], 1, "expected from 3 to 18 subnets to measure, got 19"),
        (["--from", "alpha", "--measurements", "none.json", "--device-class", "a"], 1, "none.json"),
        (["--from", "alpha", "--measurements", "/", "--device-class", "a b"], 1, "/"),
    ],
)
def test_bad_options_are_one_line(
    cli: Cli, artifact_folder: Path, options: list[object], status: int, message: str
) -> None:
    said = cli("tables", "transfer", "--artifact", artifact_folder, *options)
    assert message in failed(said, status)
