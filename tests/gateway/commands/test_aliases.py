"""`tables alias`, `unalias` and what `tables list` tells of a device class."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.gateway.command_line import Cli, failed


@pytest.fixture(autouse=True)
def _own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPOFA_CREATED_BY", "fleet team")


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "plain.json"
    path.write_text(json.dumps({"d2-2@12": 1.0, "d4-4@16": 2.0}))
    return path


def listed(cli: Cli, artifact: Path) -> dict[str, dict[str, object]]:
    infos = cli.json("tables", "list", "--artifact", artifact)
    assert isinstance(infos, list)
    return {info["name"]: info for info in infos}


def test_an_alias_comes_and_goes(cli: Cli, artifact_folder: Path, plain: Path) -> None:
    own = ["--artifact", artifact_folder]
    assert cli("tables", "alias", "pixel-7", "alpha", *own)[:2] == (0, "pixel-7: means alpha\n")
    assert listed(cli, artifact_folder)["alpha"]["aliases"] == ["pixel-7"]
    options = ["--latency-ms", "1000"]
    by_alias = cli.json("search", artifact_folder, "--device-class", "pixel-7", *options)
    assert by_alias == cli.json("search", artifact_folder, "--device-class", "alpha", *options)
    exported = cli("tables", "export", *own, "--device-class", "pixel-7")[1]
    assert json.loads(exported)["device_class"] == "alpha"
    assert "alpha" in cli("tables", "show", *own, "--device-class", "pixel-7")[1]

    # It may be moved, and a table of its own comes before it.
    assert cli("tables", "alias", "pixel-7", "beta", *own)[0] == 0
    cli("tables", "import", plain, *own, "--device-class", "pixel-7", "--format", "json")
    infos = listed(cli, artifact_folder)
    assert {name: info["aliases"] for name, info in infos.items()} == {
        "alpha": [], "beta": [], "pixel-7": []
    }  # fmt: skip
    cli("tables", "delete", *own, "--device-class", "pixel-7")
    assert listed(cli, artifact_folder)["beta"]["aliases"] == ["pixel-7"]

    for command in ("rollback", "delete"):
        said = failed(cli("tables", command, *own, "--device-class", "pixel-7"))
        assert "'pixel-7': an alias: name 'beta' itself" in said
    assert cli("tables", "unalias", "pixel-7", *own)[:2] == (0, "pixel-7: no longer means beta\n")
    said = failed(cli("search", artifact_folder, "--device-class", "pixel-7", *options))
    assert "'pixel-7' is not known" in said


def test_aliases_that_lead_nowhere_are_refused(
    cli: Cli, artifact_folder: Path, plain: Path
) -> None:
    own = ["--artifact", artifact_folder]
    cli("tables", "alias", "pixel-7", "alpha", *own)
    for name, target, message in (
        ("x", "nothing", "'nothing' is not known; there are alpha, beta"),
        ("x", "x", "'x' is not known"),
        ("x", "pixel-7", "'pixel-7' is an alias too: name what it means, 'alpha'"),
        ("pixel-7", "pixel-7", "'pixel-7' is an alias too"),
        ("beta", "alpha", "alias 'beta': a device class of that name has a table of its own"),
        ("alpha", "pixel-7", "'pixel-7' is an alias too"),
        ("alpha", "alpha", "has a table of its own"),
        ("a b", "alpha", "device class 'a b': expected letters"),
        ("", "alpha", "device class '': expected letters"),
    ):
        assert message in failed(cli("tables", "alias", name, target, *own))
    said = failed(cli("tables", "unalias", "x", *own))
    assert said == "compofa: alias 'x': expected one of those there are: pixel-7\n"
    assert "--help" in failed(cli("tables", "alias", "x", *own), status=2)

    cli("tables", "import", plain, *own, "--device-class", "phone", "--format", "json")
    cli("tables", "alias", "x", "phone", *own)
    cli("tables", "delete", *own, "--device-class", "phone")
    status, _, err = cli("tables", "list", *own)
    assert (status, err) == (0, "compofa: alias 'x': 'phone' has no table\n")
    assert cli("tables", "unalias", "x", *own)[0] == 0


def test_a_class_is_listed_with_where_it_comes_from(
    cli: Cli, artifact_folder: Path, plain: Path
) -> None:
    own = ["--artifact", artifact_folder, "--device-class", "phone"]
    cli("tables", "import", plain, *own, "--format", "json")
    infos = listed(cli, artifact_folder)
    phone = infos["phone"]
    del phone["created"]
    assert phone == {
        "name": "phone", "default_budget_ms": None, "measured": False, "kind": "imported",
        "source": "imported: plain.json", "version": 1, "created_by": "fleet team", "subnets": 2,
        "frontier": 2, "aliases": [],
    }  # fmt: skip
    assert (infos["alpha"]["kind"], infos["alpha"]["created_by"]) == ("derived", None)
    status, out, _ = cli("tables", "list", "--artifact", artifact_folder)
    assert status == 0
    assert "fleet team" in out
    assert "imported" in out


def test_a_learned_table_that_is_imported_is_no_longer_one(
    cli: Cli, artifact_folder: Path, tmp_path: Path
) -> None:
    """It is what someone put there: it stays, and is no step away from anything."""
    document = json.loads(cli("tables", "export", "--artifact", artifact_folder,
                              "--device-class", "alpha")[1])  # fmt: skip
    document |= {"kind": "learned", "conditions": {"base_version": "3"}}
    path = tmp_path / "learned.json"
    path.write_text(json.dumps(document))
    own = ["--artifact", artifact_folder, "--device-class", "phone"]
    cli("tables", "import", path, *own, "--format", "json")
    assert listed(cli, artifact_folder)["phone"]["kind"] == "imported"
