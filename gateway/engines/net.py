"""An artifact's net, for an engine to build from: loaded when something has to be built, once."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from supernet.architecture import Architecture
from supernet.manifest import Manifest, check_parts, read_manifest

if TYPE_CHECKING:
    from torch import nn

    from supernet.model import Supernet


class Net:
    """Safe to use from several threads. What is compiled already needs neither torch nor the
    weights; reading the manifest needs neither."""

    def __init__(self, folder: Path, manifest: Manifest | None = None) -> None:
        """`manifest` is what the folder was checked against before, where it was. Raises
        `ValueError` for a folder that is no artifact, or a damaged one: what was compiled from it
        earlier must not hide that."""
        self._folder = folder
        if manifest is None:
            manifest = read_manifest(folder)
            check_parts(folder, manifest)
        self.manifest: Manifest = manifest
        self._lock = threading.Lock()
        self._supernet: Supernet | None = None
        self._pieces: Mapping[str, nn.Module] | None = None

    @property
    def has_pieces(self) -> bool:
        """Whether it is folded, on a space whose pieces can be listed."""
        manifest = self.manifest
        return manifest.normalization == "piece-affine" and manifest.design_space.can_be_listed

    @property
    def is_loaded(self) -> bool:
        """Whether torch and the weights are in memory."""
        return self._supernet is not None

    def pieces(self) -> Mapping[str, nn.Module]:
        """Every piece by name. Raises `ValueError` where there are none."""
        from supernet.extract import pieces

        with self._lock:
            if self._pieces is None:
                self._pieces = pieces(self._loaded())
            return self._pieces

    def subnet(self, arch: Architecture) -> nn.Module:
        """One subnet. Raises `ValueError` where it is not of the net."""
        from supernet.extract import extract

        with self._lock:
            return extract(self._loaded(), arch)

    def release(self) -> None:
        """Give the pieces up: they are compiled."""
        with self._lock:
            self._pieces = None

    def keep(self) -> None:
        """Load the weights now, for what is compiled later, whatever the folder holds then."""
        with self._lock:
            self._loaded()

    def _loaded(self) -> Supernet:
        """Raises `ValueError` where the folder holds another net by now: its weights must not be
        served as this one's, nor kept among what was compiled from this one."""
        from supernet import artifact

        if self._supernet is None:
            found = artifact.load(self._folder)
            if found.manifest.artifact_hash != self.manifest.artifact_hash:
                raise ValueError(
                    f"artifact {self._folder}: expected the net that is served, "
                    f"{self.manifest.artifact_hash}, found {found.manifest.artifact_hash}"
                )
            self._supernet = found.supernet
        return self._supernet
