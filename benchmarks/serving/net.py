"""The net that serving is measured with: ImageNet's size, folded, random weights.

Speed does not depend on what the weights are. Accuracies are what Once-for-All's published
predictor says of the architectures, where its file is there; otherwise they rise with the MACs.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch

from supernet import artifact
from supernet.accuracy_predictor import TRAINED_RESOLUTIONS, AccuracyPredictor
from supernet.catalog import Catalog, CatalogEntry
from supernet.complexity import complexity
from supernet.design_space import DesignSpace
from supernet.latency import LatencyTable
from supernet.manifest import Preprocessing
from supernet.model import Supernet
from supernet.presets import imagenet_mbv3
from training.calibrate import average_affines

FOLDER = Path("runs/serving/imagenet-mbv3")
PREDICTOR = Path(__file__).parents[3] / "shared/data/ofa_accuracy_predictor.pth"
DEVICE_CLASS = "any"  # its table binds nobody: what matters is the gateway's own time
FIXED = ("d2-2-2-2-2@160", "d2-2-2-2-2@224", "d3-3-3-3-3@224", "d4-4-4-4-4@224")
MS_PER_GMAC = 10.0


def imagenet_artifact(folder: Path = FOLDER) -> Path:
    """The folder, made where it is not there (a quarter of a minute)."""
    if folder.exists():
        return folder
    space = imagenet_mbv3()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        supernet = Supernet(space)
        images = (torch.randn(4, 3, size, size) for size in (min(space.resolutions), 224))
        average_affines(supernet, images, random.Random(0))
    catalog = _catalog(space)
    table = LatencyTable(
        device_class=DEVICE_CLASS,
        artifact_hash="0" * 32,
        source="not measured: in proportion to MACs",
        measured=False,
        latency_ms={e.subnet: MS_PER_GMAC * e.macs / 1e9 for e in catalog.entries},
    )
    alone = [
        table.model_copy(update={"device_class": only(s), "latency_ms": {s: table.latency_ms[s]}})
        for s in FIXED
    ]
    labels = tuple(map(str, range(space.skeleton.classes)))
    preprocessing = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    description = artifact.Description("imagenet-mbv3", preprocessing, labels, catalog)
    artifact.save(folder, supernet.eval(), description, [table, *alone])
    return folder


def only(subnet: str) -> str:
    """The device class that nothing but this one of `FIXED` is served to."""
    return "only-" + subnet.replace("@", "-")


def _catalog(space: DesignSpace) -> Catalog:
    archs = [arch for arch in space.enumerate() if arch.resolution in TRAINED_RESOLUTIONS]
    costs = [complexity(space, arch) for arch in archs]
    accuracies, predicted_by = [0.7 + cost.macs / 1e10 for cost in costs], None
    if PREDICTOR.exists():
        accuracies = AccuracyPredictor.read(PREDICTOR).predict(space, archs)
        predicted_by = PREDICTOR.name
    entries = tuple(
        CatalogEntry(
            subnet=arch.id,
            accuracy=round(accuracy, 5),
            macs=cost.macs,
            parameters=cost.parameters,
        )
        for arch, cost, accuracy in zip(archs, costs, accuracies, strict=True)
    )
    return Catalog(entries=entries, predicted_by=predicted_by)
