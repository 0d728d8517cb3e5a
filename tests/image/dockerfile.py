"""The Dockerfile and .dockerignore as data: what is copied where, what is run, by whom."""

from __future__ import annotations

import fnmatch
import shlex
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Instruction:
    """One line, its continuations joined: `word` such as RUN, and what follows."""

    word: str
    rest: str


@dataclass(slots=True)
class Stage:
    """What `FROM base AS name` begins."""

    name: str
    base: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        return [each.rest for each in self.instructions if each.word == word]


def stages(path: Path = ROOT / "Dockerfile") -> tuple[dict[str, str], dict[str, Stage]]:
    """The global ARGs with their defaults, and the stages by name."""
    arguments: dict[str, str] = {}
    found: dict[str, Stage] = {}
    stage: Stage | None = None
    for instruction in _instructions(path.read_text()):
        if instruction.word == "FROM":
            base, _, name = instruction.rest.split()
            stage = found[name] = Stage(name, base)
        elif stage is None:
            assert instruction.word == "ARG"
            name, default = instruction.rest.split("=", 1)
            arguments[name] = default
        else:
            stage.instructions.append(instruction)
    return arguments, found


def _instructions(text: str) -> list[Instruction]:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [Instruction(*line.split(maxsplit=1)) for line in joined]


def copied(stage: Stage) -> dict[str, str]:
    """What a stage copies from the build's context: source to target."""
    pairs: dict[str, str] = {}
    for rest in stage.all("COPY"):
        if not rest.startswith("--from="):
            *sources, target = shlex.split(rest)
            pairs |= dict.fromkeys(sources, target)
    return pairs


def is_sent(path: PurePosixPath, ignore: str) -> bool:
    """Whether .dockerignore lets a file into the build's context: the last pattern that matches
    it or a folder of it decides."""
    sent = True
    for line in ignore.splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        brings_back = pattern.startswith("!")
        if any(_matches(part, pattern.lstrip("!")) for part in [path, *path.parents]):
            sent = brings_back
    return sent


def _matches(path: PurePosixPath, pattern: str) -> bool:
    if path == PurePosixPath("."):
        return False
    if pattern.startswith("**/"):
        return fnmatch.fnmatchcase(path.name, pattern.removeprefix("**/"))
    wanted = PurePosixPath(pattern).parts
    return len(wanted) == len(path.parts) and all(
        fnmatch.fnmatchcase(*pair) for pair in zip(path.parts, wanted, strict=True)
    )
