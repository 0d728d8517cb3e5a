"""What comes with the package: a trained artifact with three latency tables, and real images.

The images are 300 of Fashion-MNIST's test set (Xiao et al. 2017, MIT licence), as PNG files
in a folder a label.
"""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent


def artifact_folder() -> Path:
    """The artifact `fashion-mnist-mbv3`, trained on Fashion-MNIST."""
    return _HERE / "fashion-mnist-mbv3"


def holds(folder: Path) -> bool:
    """Whether a folder is part of the package, whose files are not its user's to change."""
    return folder.resolve().is_relative_to(_HERE.resolve())


def images() -> list[tuple[Path, str]]:
    """Each image file with its true label, in a fixed order in which labels take turns."""
    files = (_HERE / "images").glob("*/*.png")
    return [(path, path.parent.name) for path in sorted(files, key=lambda p: (p.name, p.parent))]
