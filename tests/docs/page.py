"""A page of the documentation as a script: its `sh` blocks, and what it says they print."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_GRACE_S = 10.0
_END = "@@ end of block {} @@"


@dataclass(frozen=True, slots=True)
class Block:
    """Commands, and what the page shows of their standard output: `…` stands for anything in a
    line, and alone in a line for any lines. None where it shows nothing."""

    commands: str
    shown: str | None


def blocks(page: str) -> list[Block]:
    """The blocks marked `sh`, in order; one marked `text` right after shows the output."""
    found: list[Block] = []
    fenced = list(_FENCED.finditer(page))
    for here, after in zip(fenced, [*fenced[1:], None], strict=True):
        if here[1] == "sh":
            follows = after is not None and after[1] == "text" and after.start() == here.end() + 1
            found.append(Block(here[2], after[2] if follows and after else None))
    return found


def run(page: list[Block], folder: Path, environment: Mapping[str, str], within_s: float) -> str:
    """Run all blocks in one shell that stops at the first error; standard output. What they have
    started is ended. Fails with all that was said where a command fails, or they take longer."""
    script = "set -eu\n" + "".join(
        f"{block.commands}\necho; echo '{_END.format(place)}'\n" for place, block in enumerate(page)
    )
    # Not pipes, which end only with the last of all processes that the shell has started.
    with TemporaryFile("w+") as said, TemporaryFile("w+") as errors:
        shell = subprocess.Popen(
            ["bash", "-c", script], cwd=folder, env=environment, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=said, stderr=errors,
        )  # fmt: skip
        try:
            with suppress(subprocess.TimeoutExpired):
                shell.wait(within_s)
            status = shell.poll()
        finally:
            _end_group(shell)
        said.seek(0)
        errors.seek(0)
        assert status == 0, f"{said.read()}\n{errors.read()}"
        return said.read()


def outputs(said: str, page: list[Block]) -> list[str]:
    """What each block has printed."""
    found = []
    for place in range(len(page)):
        own, _, said = said.partition(f"\n{_END.format(place)}\n")
        found.append(own)
    return found


def pattern(shown: str) -> re.Pattern[str]:
    """What matches all output that is as shown."""
    lines = (
        r"(?:.*\n)*?" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + r"\n"
        for line in shown.splitlines()
    )
    return re.compile("".join(lines))


def _end_group(shell: subprocess.Popen[bytes]) -> None:
    """End the shell and all it has started: it has a session of its own. A gateway is asked
    first, so that it ends what it builds in yet another one."""
    with suppress(ProcessLookupError):  # they have all ended
        os.killpg(shell.pid, signal.SIGTERM)
        shell.wait()
        until = time.monotonic() + _GRACE_S
        while time.monotonic() < until:
            os.killpg(shell.pid, 0)
            time.sleep(0.05)
        os.killpg(shell.pid, signal.SIGKILL)
    shell.wait()
