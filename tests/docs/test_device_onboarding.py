"""Every command of the page on a device's life is run, and does what the page shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.docs.page import Block, blocks, outputs, pattern, run

PAGE = Path(__file__).parents[2] / "docs" / "device-onboarding.md"
WITHIN_S = 500.0  # most of it is starting Python and compiling, some thirty times
_FETCHED = re.compile(r"^net\.onnx: onnx of (\S+), .* predicted (\S+) ms$", re.MULTILINE)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The commands of this Python, and no store or cache of whoever runs the test."""
    own = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COMPOFA_STATE_DIR": str(tmp_path / "state"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    return dict(os.environ) | own


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture
def page() -> list[Block]:
    """The page's blocks, on ports that are free here."""
    text = PAGE.read_text("utf-8")
    for port, free in zip(("50051", "9090"), free_ports(2), strict=True):
        assert port in text
        text = text.replace(port, str(free))
    return blocks(text)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.timeout(WITHIN_S + 60)
def test_the_page_does_what_it_shows(
    page: list[Block], environment: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    said = outputs(run(page, folder, environment, WITHIN_S), page)
    for block, out in zip(page, said, strict=True):
        assert pattern(block.shown or "").fullmatch(out), f"{block.commands}\nprinted\n{out}"

    first, same, second = (match for out in said for match in _FETCHED.finditer(out))
    assert same.groups() == first.groups(), "asked again, with the same table"
    assert second[1] != first[1], "the table has moved: another subnet fits the budget"
    table = json.loads((folder / "phone.json").read_text())["latency_ms"]
    assert float(first[2]) == pytest.approx(table[first[1]], rel=1e-3)
    assert float(second[2]) > 1.05 * table[second[1]], "slower than it was profiled"
    reported = json.loads((folder / "measured.json").read_text())
    assert {subnet for subnet, _ in reported} == {second[1]}, "the app runs what was fetched last"


def test_what_a_page_shows_is_compared() -> None:
    """The reading of pages itself, for a page that shows what does not happen has to fail."""
    two = blocks("```sh\necho a; echo b1c\n```\n```text\na\nb…c\n```\n\n```sh\ntrue\n```\nx\n")
    assert two == [Block("echo a; echo b1c\n", "a\nb…c\n"), Block("true\n", None)]
    assert pattern("a\nb…c\n").fullmatch("a\nb1c\n")
    assert not pattern("a\nb…c\n").fullmatch("a\nb1d\n")
    assert not pattern("a\n").fullmatch("a\nb\n")
    assert pattern("…\nb\n…\n").fullmatch("a\na\nb\n")
    assert not pattern("…\nb\n…\n").fullmatch("a\nc\n")


@pytest.mark.parametrize(("last", "message"), [("false", "kept"), ("echo $unset", "unset")])
def test_a_command_that_fails_fails_the_page(tmp_path: Path, last: str, message: str) -> None:
    page = blocks(f"```sh\necho kept\n```\n```sh\n{last}\n```\n")
    with pytest.raises(AssertionError, match=message):
        run(page, tmp_path, os.environ, 20)
    page = blocks("```sh\necho kept\n```\n```sh\nsleep 100 &\n```\n")
    assert outputs(run(page, tmp_path, os.environ, 20), page) == ["kept\n", ""]
