"""CompOFA's claim about its population: coupled depth and width against random architectures.

    python benchmarks/studies/population.py runs/ofa/artifact

Of one net whose choices are all free a block, the 243 architectures that couple depth and width
and as many random ones, at full resolution, on the test images. Draws one picture.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib import pyplot as plt

from supernet import artifact
from supernet.architecture import Architecture
from supernet.complexity import complexity
from training.calibrate import calibrate_from
from training.evaluate import accuracies
from training.images.data_folder import open_data_folder
from training.images.file_source import FileLoading

RESULT = Path("benchmarks/results/population.json")
PICTURE = Path("docs/images/population.png")
COUNT = 243


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    loaded = artifact.load(given.artifact)
    space = loaded.supernet.space
    if space.can_be_listed:
        raise SystemExit(f"{given.artifact}: expected a net whose choices are free a block")
    full = max(space.resolutions)
    rng = random.Random(0)
    groups = {
        "coupled": [arch for arch in space.representatives() if arch.resolution == full],
        "random": [space.sample(rng, resolution=full) for _ in range(COUNT)],
    }
    found = _measured(loaded, groups["random"], groups["coupled"], given.threads)
    rows = {
        name: [
            {"subnet": a.id, "macs": complexity(space, a).macs, "test_accuracy": found[a]}
            for a in archs
        ]
        for name, archs in groups.items()
    }
    RESULT.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    _draw(rows)


def _measured(
    loaded: artifact.Artifact, fresh: list[Architecture], known: list[Architecture], threads: int
) -> dict[Architecture, float]:
    """Test accuracies, after the statistics of those that have none yet."""
    manifest = loaded.manifest
    held_out = manifest.ledger.validation_images if manifest.ledger else None
    loading = FileLoading(manifest.preprocessing)
    data = open_data_folder(None, loading, validation_images=held_out)
    assert data.test is not None
    torch.set_num_threads(threads)
    calibrate_from(loaded.supernet, data.train, archs=fresh)
    return accuracies(loaded.supernet, data.test, [*known, *fresh], num_threads=threads)


def _draw(rows: dict[str, list[dict[str, object]]]) -> None:
    mpl.use("Agg")
    figure, axes = plt.subplots(figsize=(8, 4.5), dpi=120)
    for name, points in rows.items():
        x = [float(str(point["macs"])) / 1e6 for point in points]
        y = [100 * float(str(point["test_accuracy"])) for point in points]
        axes.scatter(x, y, s=10, alpha=0.6, label=f"{len(points)} {name} architectures")
    axes.set_xlabel("MMACs an image")
    axes.set_ylabel("test accuracy, %")
    axes.set_title("One net with every choice free a block, Fashion-MNIST")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.tight_layout()
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE)


if __name__ == "__main__":
    main()
