"""Builds an export by running `compofa export` in a process of its own, at a lower priority.

Exporters live with training, which serving does not import: what they load, leak or break stays
in that process, and it is killed where nobody waits for its work any more.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gateway.child_process import environment, yield_to_requests
from gateway.errors import CannotExport
from gateway.exports.entry import NO_ROOM
from gateway.exports.key import ExportKey
from supernet.manifest import read_manifest

_SCRATCH = ("TMPDIR", "TORCHINDUCTOR_CACHE_DIR")  # torch makes the latter, wherever it is
_USAGE = 2  # exit status of a command line that is none
_FULL = tuple(map(os.strerror, NO_ROOM))
_OURS = "compofa: "
_KEPT = 2000  # characters of what a crash has said


class ExportCrashedError(Exception):
    """The process ended in a way that is a bug of ours, or of the format's library."""


@dataclass(frozen=True, slots=True)
class Builder:
    """Exports from the artifact in a folder. `max_seconds` bounds one export."""

    artifact: Path
    max_seconds: float

    async def build(self, key: ExportKey, folder: Path, lock: int) -> tuple[Path, ...]:
        """The files that make up the export, the main one first, in the empty `folder`.

        The process inherits `lock`. Cancelled, it is killed before this returns. Raises
        `CannotExport`, or `ExportCrashedError` with what is for the log.
        """
        await asyncio.to_thread(self._check_artifact, key)
        files = folder / "files"
        files.mkdir()
        main = files / key.file_name
        command = export_command(self.artifact, key.subnet, key.format, main)
        status, said = await self._run(command, folder, lock)
        if status != 0:
            raise _failure(status, said, key, (self.artifact, folder))
        await asyncio.to_thread(self._check_artifact, key)
        return main, *sorted(file for file in files.iterdir() if file != main)

    def _check_artifact(self, key: ExportKey) -> None:
        """The folder may hold another net than the one that is served, since it was loaded."""
        if read_manifest(self.artifact).artifact_hash != key.artifact_hash:
            raise CannotExport(
                "the artifact on the gateway's disk is no longer the one that it serves"
            )

    async def _run(self, command: list[str], folder: Path, lock: int) -> tuple[int, str]:
        """Exit status and standard error."""
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=environment() | dict.fromkeys(_SCRATCH, str(folder)),
            pass_fds=(lock,),
            process_group=0,  # Ctrl-C is the gateway's; and all it starts is killed with it
        )
        try:
            yield_to_requests(process.pid)
            async with asyncio.timeout(self.max_seconds):
                _, said = await process.communicate()
        except TimeoutError:
            raise ExportCrashedError(f"no end after {self.max_seconds:g} s") from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        assert process.returncode is not None
        return process.returncode, said.decode(errors="replace")


def export_command(artifact: Path, subnet: str, format_name: str, out: Path) -> list[str]:
    """What builds an export; to be run in `child_process.environment`."""
    # -P: a folder `training` where the gateway was started is not ours.
    command = [sys.executable, "-P", "-m", "training", "export", str(artifact), "--json"]
    return [*command, "--subnet", subnet, "--format", format_name, "--out", str(out)]


def told(said: str) -> str | None:
    """The line that a command which failed has for its user, if it has one."""
    lines = said.strip().splitlines()
    return lines[-1].removeprefix(_OURS) if lines and lines[-1].startswith(_OURS) else None


def _failure(status: int, said: str, key: ExportKey, inside: tuple[Path, ...]) -> Exception:
    if status == _USAGE:
        return CannotExport(f"format: {key.format!r} is none that this gateway can build")
    line = told(said) if status == 1 else None
    if line is not None and any(reason in line for reason in _FULL):
        return CannotExport.for_want_of_room()
    if line is None or any(str(path) in line for path in inside):  # nothing that callers may see
        return ExportCrashedError(f"exit status {status}: {said[-_KEPT:]}")
    return CannotExport(line)
