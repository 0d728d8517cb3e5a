"""What a runtime has compiled, in a folder: a later process starts the faster."""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from supernet.durable import write_file

_LOG = logging.getLogger(__name__)
DIGEST_BYTES = hashlib.sha256().digest_size
_PART_BYTES = 2**20
_SCRATCH = "scratch-"
_LEFT_S = 3600.0  # nothing takes so long to compile


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
            content = self.path(name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self.complain(error.strerror)
            return None
        digest, blob = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
        return blob if hashlib.sha256(blob).digest() == digest else None

    def file(self, name: str) -> Path | None:
        """Where a blob lies, behind its first `DIGEST_BYTES`, for whoever maps it; None where it is
        missing, damaged or cannot be read."""
        try:
            with self.path(name).open("rb") as file:
                digest = file.read(DIGEST_BYTES)
                found = hashlib.sha256()
                while part := file.read(_PART_BYTES):
                    found.update(part)
        except FileNotFoundError:
            return None
        except OSError as error:
            self.complain(error.strerror)
            return None
        return self.path(name) if found.digest() == digest else None

    def write(self, name: str, blob: bytes) -> bool:
        """Whether it could be."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_file(self.path(name), hashlib.sha256(blob).digest() + blob)
        except OSError as error:
            self.complain(error.strerror)
            return False
        return True

    def path(self, name: str) -> Path:
        """Where a blob is, or would be."""
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.blob"

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for what is on its way into the cache. Raises `OSError`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=self._folder) as folder:
            yield Path(folder)

    def _sweep(self) -> None:
        """Take away what processes that were killed have left on its way."""
        for left in (*self._folder.glob(f"{_SCRATCH}*"), *self._folder.glob(".*.part")):
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > _LEFT_S:
                    shutil.rmtree(left) if left.is_dir() else left.unlink()

    def complain(self, reason: str | None) -> None:
        """Say it, once."""
        if not self._complained:
            self._complained = True
            _LOG.warning("compile cache %s: %s", self._folder, reason)
