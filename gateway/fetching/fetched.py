"""An export that a client has in its files, and a note beside them of which version that is."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.exports.entry import BLOCK
from supernet.durable import write_file

_SUFFIX = re.compile(r"\.[A-Za-z0-9_]{1,16}")


@dataclass(frozen=True, slots=True)
class Fetched:
    """An export that is in place. `files` are the main one and those that belong to it, `sha256`
    that of their bytes, one file after the other; `unchanged` where they were there already."""

    files: tuple[Path, ...]
    subnet: str
    expected_accuracy: float
    predicted_latency_ms: float
    format: str
    version: str
    sha256: str
    size_bytes: int
    unchanged: bool = False

    def as_json(self) -> dict[str, object]:
        """The object that `fetch --json` prints."""
        return {
            "files": [str(file) for file in self.files],
            "subnet": self.subnet,
            "expected_accuracy": self.expected_accuracy,
            "predicted_latency_ms": self.predicted_latency_ms,
            "format": self.format,
            "version": self.version,
            "sha256": self.sha256,
            "bytes": self.size_bytes,
            "unchanged": self.unchanged,
        }


@dataclass(frozen=True, slots=True)
class Kept:
    """What the note says of files that still are as it says."""

    files: tuple[Path, ...]
    version: str
    sha256: str
    size_bytes: int


def kept(out: Path) -> Kept | None:
    """What is at `out` by an earlier fetch; None where a file is another one meanwhile."""
    try:
        note = json.loads(_note(out).read_text("utf-8"))
        files = tuple(out.with_name(Path(name).name) for name in note["files"])
        version, sha256 = str(note["version"]), str(note["sha256"])
        if digest(files) != sha256:
            return None
        return Kept(files, version, sha256, sum(file.stat().st_size for file in files))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep(out: Path, files: Sequence[Path], version: str, sha256: str) -> None:
    """Write the note, a hidden file beside `out`. Raises `OSError`."""
    note = {"version": version, "sha256": sha256, "files": [file.name for file in files]}
    write_file(_note(out), json.dumps(note).encode() + b"\n")


def places(names: Sequence[str], out: Path) -> tuple[Path, ...]:
    """Where the files of an export go: the first to `out`, the others beside it, under its name
    with their own suffix. Raises `ValueError` where two would be one."""
    suffixes = [Path(name).suffix for name in names[1:]]
    files = (out, *(out.with_suffix(suffix) for suffix in suffixes if _SUFFIX.fullmatch(suffix)))
    if len(set(files)) != len(names) or not names:
        raise ValueError(
            f"{out}: cannot hold the files {', '.join(names)}: expected one of each suffix"
        )
    return files


def put(files: Iterable[Path], at: Sequence[Path]) -> None:
    """Move finished files to their places, the main one last. Raises `OSError`."""
    for file, place in reversed(list(zip(files, at, strict=True))):
        with file.open("rb") as written:
            os.fsync(written.fileno())
        file.replace(place)


def digest(files: Iterable[Path]) -> str:
    """SHA-256 of the files' bytes, one file after the other, in hexadecimal."""
    found = hashlib.sha256()
    for file in files:
        with file.open("rb") as source:
            while block := source.read(BLOCK):
                found.update(block)
    return found.hexdigest()


def checked_out(out: Path) -> Path:
    """`out` with its links followed: they stay, and lead to the new file. Raises `ValueError`
    where something else than a file is there."""
    if out.exists() and not out.is_file():
        raise ValueError(f"{out}: expected a file, something else is there")
    return Path(os.path.realpath(out))


def _note(out: Path) -> Path:
    return out.with_name(f".{out.name}.fetched")
