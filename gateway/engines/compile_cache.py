"""What a runtime has compiled, in a folder: a later process starts the faster."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

from supernet.durable import write_file

_LOG = logging.getLogger(__name__)
_DIGEST_BYTES = hashlib.sha256().digest_size


class CompileCache:
    """Blobs by name, each with its SHA-256 in front, so that a torn or damaged one is not read.

    `made_for` is all that a blob depends on besides its name: runtime, processor, settings. Blobs
    made for anything else stand in folders of their own. A folder that cannot be written to costs
    time, not the start: it is said once in the log.
    """

    def __init__(self, folder: Path, made_for: Sequence[str]) -> None:
        self._folder = folder / hashlib.sha256("\0".join(made_for).encode()).hexdigest()[:16]
        self._complained = False

    def read(self, name: str) -> bytes | None:
        """None where it is missing, damaged or cannot be read."""
        try:
            content = self._path(name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._complain(error)
            return None
        digest, blob = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        return blob if hashlib.sha256(blob).digest() == digest else None

    def write(self, name: str, blob: bytes) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_file(self._path(name), hashlib.sha256(blob).digest() + blob)
        except OSError as error:
            self._complain(error)

    def _path(self, name: str) -> Path:
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.blob"

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            _LOG.warning("compile cache %s: %s", self._folder, error.strerror)
