"""The commands under `tables` on a shared store, and what they say where it cannot be used."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.gateway.command_line import Cli, failed
from tests.redis_server import RedisServer, free_port


def test_tables_go_through_redis_as_through_a_file(
    cli: Cli, artifact_folder: Path, tmp_path: Path, redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("COMPOFA_STORE", redis_server.url)
    own = ["--artifact", artifact_folder, "--device-class", "phone"]
    plain = tmp_path / "plain.json"
    for ms in (1.0, 2.0):
        plain.write_text(json.dumps({"d2-2@12": ms}))
        cli("tables", "import", plain, *own, "--format", "json")
    options = ["--device-class", "phone", "--store", redis_server.url]
    found = cli.json("search", artifact_folder, *options)
    assert isinstance(found, dict)
    assert found["latency_ms"] == 2.0
    assert cli("tables", "rollback", *own)[:2] == (0, "phone: version 1\n")
    shown = cli.json("tables", "show", *own)
    assert isinstance(shown, list)
    assert [(t["version"], t["current"]) for t in shown] == [(1, True), (2, False)]
    assert json.loads(cli("tables", "export", *own)[1])["latency_ms"] == {"d2-2@12": 1.0}
    assert cli("tables", "delete", *own)[:2] == (0, "phone: deleted\n")
    assert "not known" in failed(cli("tables", "show", *own))
    assert not (tmp_path / "state").exists()


def test_a_damaged_version_is_told_of_and_not_rolled_back_to(
    cli: Cli, artifact_folder: Path, tmp_path: Path, redis_server: RedisServer
) -> None:
    own = ["--artifact", artifact_folder, "--device-class", "phone"]
    own += ["--store", redis_server.url]
    plain = tmp_path / "plain.json"
    for ms in (1.0, 2.0, 3.0):
        plain.write_text(json.dumps({"d2-2@12": ms}))
        cli("tables", "import", plain, *own, "--format", "json")
    (key,) = (k for k in redis_server.ask("KEYS", "*") if b":table:" in k)
    redis_server.ask("HSET", key, 2, "{}")
    status, out, err = cli("tables", "show", *own, "--json")
    assert (status, [t["version"] for t in json.loads(out)]) == (0, [1, 3])
    assert (
        err == "compofa: phone: version 2: damaged: its SHA-256 is not the one it was stored with\n"
    )
    assert "version 2: damaged" in failed(cli("tables", "rollback", *own))
    assert cli("tables", "rollback", *own, "--version", "1")[:2] == (0, "phone: version 1\n")


def test_a_damaged_pointer_is_rolled_back_from(
    cli: Cli, artifact_folder: Path, tmp_path: Path, redis_server: RedisServer
) -> None:
    own = ["--artifact", artifact_folder, "--device-class", "phone", "--store", redis_server.url]
    plain = tmp_path / "plain.json"
    for ms in (1.0, 2.0):
        plain.write_text(json.dumps({"d2-2@12": ms}))
        cli("tables", "import", plain, *own, "--format", "json")
    (key,) = (k for k in redis_server.ask("KEYS", "*") if k.endswith(b":current"))
    redis_server.ask("HSET", key, "phone", "garbage")
    assert cli("tables", "rollback", *own)[:2] == (0, "phone: version 2\n")


@pytest.mark.parametrize("version", [-1, 2**63, 10**30])
def test_a_version_that_cannot_be_is_one_line(
    cli: Cli, artifact_folder: Path, version: int
) -> None:
    own = ["--artifact", artifact_folder, "--device-class", "alpha", f"--version={version}"]
    assert f"--version: expected 0 to {2**63 - 1}, got {version}" in failed(
        cli("tables", "rollback", *own)
    )


def test_what_a_table_says_of_itself_is_shown_as_it_is(
    cli: Cli, artifact_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPOFA_CREATED_BY", "team [/x]")
    own = ["--artifact", artifact_folder, "--device-class", "phone"]
    file = tmp_path / "[red]x\x1b\udcff.json"
    file.write_text('{"latency_ms": {"d2-2@12": 1.0}}')
    assert cli("tables", "import", file, *own, "--format", "json")[0] == 0
    status, out, err = cli("tables", "list", *own[:2])
    assert (status, err) == (0, "")
    assert "team [/x]" in out
    assert "imported: [red]x??.json" in out


def test_a_name_that_is_there_twice_is_refused(
    cli: Cli, artifact_folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "doubled.json"
    file.write_text('{"d2-2@12": 1.0, "d2-2@16": 2.0, "d2-2@12": 3.0}')
    own = ["--artifact", artifact_folder, "--device-class", "phone", "--format", "json"]
    said = failed(cli("tables", "import", file, *own))
    assert f"latency table {file}: 'd2-2@12' is there twice" in said


def test_a_store_that_cannot_be_reached_is_one_line_and_soon(
    cli: Cli, artifact_folder: Path, tmp_path: Path, redis_server: RedisServer
) -> None:
    redis_server.ask("ACL", "SETUSER", "me", "reset", "on", ">right", "~*", "&*", "+@all")
    at, nobody = f"127.0.0.1:{redis_server.port}", f"127.0.0.1:{free_port()}"
    own = ["--artifact", artifact_folder, "--device-class", "phone"]
    plain = tmp_path / "plain.json"
    plain.write_text('{"d2-2@12": 1.0}')
    for url, message in (
        (f"redis://me:secret@{at}", "invalid username-password pair"),
        (f"redis://me:secret@{nobody}", "Connect call failed"),
        (f"rediss://me:secret@{at}?socket_connect_timeout=0.3", "Timeout connecting"),
        (f"redis+cluster://me:secret@{nobody}", "Redis Cluster cannot be connected"),
        ("redis://me:secret@no.such.host.invalid", "no.such.host.invalid"),
    ):
        for command in (
            ("tables", "list", "--artifact", artifact_folder),
            ("tables", "import", plain, *own, "--format", "json"),
            ("search", artifact_folder, "--device-class", "alpha"),
        ):
            began = time.monotonic()
            said = failed(cli(*command, "--store", url))
            assert said.startswith("compofa: table store redis")
            assert message in said
            assert "secret" not in said
            assert time.monotonic() - began < 5
