"""What an export is made from, and so what it is called: in the cache, and by its clients."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

SUFFIXES = {
    "onnx": ".onnx",
    "torch": ".pt2",
    "openvino": ".xml",
    "torchserve": ".mar",
    "executorch": ".pte",
}
"""The formats that may be asked for, and how their runtimes want a file's name to end. Which of
them can be built is known to `compofa export` alone."""
DEFAULT_FORMAT = "onnx"

_PREFIX = 24  # hexadecimal digits
_CONTENT = 32


@dataclass(frozen=True)
class ExportKey:
    """A subnet of one artifact, in one format, by one version of this project.

    >>> ExportKey("0" * 32, "d2-3@28", "onnx", "1.0").file_name
    'd2-3@28.onnx'
    """

    artifact_hash: str
    subnet: str
    format: str
    compofa_version: str

    @cached_property
    def digest(self) -> str:
        """The same for the same key alone: 64 hexadecimal digits."""
        parts = (self.artifact_hash, self.subnet, self.format, self.compofa_version)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    @property
    def file_name(self) -> str:
        """What the main file is called; ids of elastic spaces have slashes."""
        return self.subnet.replace("/", "_") + SUFFIXES[self.format]

    def version(self, sha256: str) -> str:
        """Names the bytes with this SHA-256, and what they were made from."""
        return f"{self.digest[:_PREFIX]}-{sha256[:_CONTENT]}"

    def is_of(self, version: str) -> bool:
        """Whether a version was made from this key, whatever bytes came out: those may differ by
        a rounding between one machine and another."""
        return version.partition("-")[0] == self.digest[:_PREFIX]
