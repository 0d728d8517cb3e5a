"""ExecuTorch's programs, run by its own runtime. Skipped where the extra is not installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from supernet.artifact import Artifact
from tests.training.exports.conftest import SMALLEST, Exported, check_metadata
from training.exports.comparison import TOLERANCE
from training.exports.metadata import describe

pytest.importorskip("executorch", reason="executorch is not installed: the extra 'executorch'")


@pytest.mark.slow  # lowering takes many seconds
@pytest.mark.filterwarnings("ignore")  # of the library's own imports
def test_executorch_gives_what_the_supernet_gives(tiny: Artifact, exported: Exported) -> None:
    from executorch.runtime import Runtime

    path: Path = exported("executorch")
    assert list(path.parent.iterdir()) == [path]
    program = Runtime.get().load_program(path)
    forward, metadata = map(program.load_method, ("forward", "metadata"))
    assert forward is not None
    assert metadata is not None
    for seed in range(3):
        x = torch.randn(1, 1, 12, 12, generator=torch.Generator().manual_seed(seed))
        (logits,) = forward.execute([x])
        assert torch.allclose(logits, tiny.supernet(x, SMALLEST), rtol=0, atol=TOLERANCE)
    (document,) = metadata.execute([])
    assert json.loads(document) == describe(tiny.manifest, SMALLEST)
    check_metadata(json.loads(document), tiny.manifest)
