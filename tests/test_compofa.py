from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import compofa


def imported_by(*argv: str) -> tuple[int, set[str]]:
    """Exit status of a command, and the packages that the process had imported at its end."""
    code = (
        "import sys, compofa\n"
        "try: status = compofa.main(sys.argv[1:])\n"
        "except SystemExit as stop: status = stop.code\n"
        "print('\\n', *sys.modules)\n"
        "sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, set(done.stdout.rsplit("\n", 2)[-2].split())


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["tables", "--help"]])
def test_help_needs_no_torch(argv: list[str]) -> None:
    status, modules = imported_by(*argv)
    assert status == 0
    assert not modules & {"torch", "grpc", "PIL"}


def test_a_search_needs_no_torch(artifact_folder: Path, tmp_path: Path) -> None:
    store = f"sqlite://{tmp_path}/tables.sqlite3"
    command = ["search", str(artifact_folder), "--device-class", "alpha", "--store", store]
    status, modules = imported_by(*command, "--json")
    assert status == 0
    assert "gateway.select" in modules
    assert not modules & {"torch", "numpy", "grpc", "PIL", "rich"}


@pytest.mark.parametrize("argv", [[], ["nonsense"], ["--nonsense"], ["--", "serve"]])
def test_bad_usage_is_one_line_and_status_two(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        compofa.main(argv)
    assert stop.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("compofa: ")


@pytest.mark.parametrize("name", compofa.COMMANDS)
def test_every_command_is_known_to_its_module(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    module = import_module(compofa.COMMANDS[name].module)
    assert callable(module.main)
    with pytest.raises(SystemExit) as stop:
        compofa.main([name, "--help"])
    assert stop.value.code == 0
    assert f"compofa {name}" in " ".join(capsys.readouterr().out.split())


def test_every_command_of_a_module_is_known_here(capsys: pytest.CaptureFixture[str]) -> None:
    theirs = set()
    for name in {command.module for command in compofa.COMMANDS.values()}:
        with pytest.raises(SystemExit):
            import_module(name).main(["nonsense"])
        choices = capsys.readouterr().err.partition("choose from")[2]
        theirs |= set(re.findall(r"'([a-z-]+)'", choices.partition(")")[0]))
    assert theirs == set(compofa.COMMANDS)


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        compofa.main(["--help"])
    words = capsys.readouterr().out.split()
    assert set(compofa.COMMANDS) <= set(words)
