"""Lookup tables on disk: a folder with one YAML file a resolution, `160_lookup_table.yaml`.

A file maps each key to `count`, `mean` and `std` (ms); other numbers beside these are not taken.
It is read event by event: no tags, no aliases, and however it is nested, nothing recurses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from supernet.latency import Blocks, BlockTime
from supernet.validation import first_error

_NAME = re.compile(r"([1-9]\d{0,3})(?!\d).*\.ya?ml")
_FORM = "expected one mapping a key, with count, mean and std"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def find_lookup_tables(folder: Path) -> dict[int, Path]:
    """The file of each resolution. Raises `ValueError` where there is none, or one too many."""
    if not folder.is_dir():
        is_not = "is not a folder" if folder.exists() else "No such file or directory"
        raise ValueError(f"{folder}: {is_not}: expected one with files like 160_lookup_table.yaml")
    found: dict[int, Path] = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix in (".yaml", ".yml")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise ValueError(f"{path}: expected a resolution first, as in 160_lookup_table.yaml")
        other = found.setdefault(int(match[1]), path)
        if other != path:
            raise ValueError(f"{path}: there is {other.name} for resolution {match[1]} too")
    if not found:
        raise ValueError(f"{folder}: expected files like 160_lookup_table.yaml, found none")
    return found


def read_lookup_table(path: Path) -> dict[str, BlockTime]:
    """The table of one resolution. Raises `ValueError` in one line naming file, line and field."""
    document = _Document(path)
    try:
        return document.read()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        raise ValueError(f"{path}:{line} this is not YAML") from None
    except ValidationError as error:
        raise ValueError(f"{path}: line {document.line}: {first_error(error)}") from None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None


def write_lookup_tables(blocks: Blocks) -> dict[str, bytes]:
    """The content of each file by its name."""
    return {
        f"{resolution}_lookup_table.yaml": yaml.dump(
            {key: time.model_dump(exclude_none=True) for key, time in times.items()},
            Dumper=_DUMPER,
        ).encode()
        for resolution, times in blocks.items()
    }


class _Document:
    """The events of a file, in order, and the line that was read last."""

    def __init__(self, path: Path) -> None:
        self._path, self.line = path, 0

    def read(self) -> dict[str, BlockTime]:
        events = yaml.parse(self._path.read_bytes(), Loader=_LOADER)
        for begin in (yaml.StreamStartEvent, yaml.DocumentStartEvent, yaml.MappingStartEvent):
            self._next(events, begin)
        table: dict[str, BlockTime] = {}
        while (key := self._key(events)) is not None:
            if key in table:
                raise ValueError(f"{self._path}: line {self.line}: {key!r} is there twice")
            self._next(events, yaml.MappingStartEvent)
            fields: dict[str, str] = {}
            while (field := self._key(events)) is not None:
                if field in fields:
                    raise ValueError(f"{self._path}: line {self.line}: {field!r} is there twice")
                fields[field] = self._next(events, yaml.ScalarEvent).value
            known = fields.keys() & BlockTime.model_fields.keys()
            table[key] = BlockTime.model_validate({field: fields[field] for field in known})
        self._next(events, yaml.DocumentEndEvent)
        self._next(events, yaml.StreamEndEvent)
        if not table:
            raise ValueError(f"{self._path}: {_FORM}, found none")
        return table

    def _key(self, events: Iterator[Any]) -> str | None:
        """The next key of a mapping, or None at its end."""
        event = self._next(events, yaml.ScalarEvent, yaml.MappingEndEvent)
        return event.value if isinstance(event, yaml.ScalarEvent) else None

    def _next(self, events: Iterator[Any], *kinds: type[yaml.Event]) -> Any:
        event = next(events)
        self.line = event.start_mark.line + 1
        if not isinstance(event, kinds):
            raise ValueError(f"{self._path}: line {self.line}: {_FORM}")
        return event
