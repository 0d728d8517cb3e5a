"""Which engine is opened, and what it has ready."""

from pathlib import Path

import numpy as np
import pytest

from gateway.engines import opening
from gateway.engines.costs import CostsByMacs
from gateway.engines.net import Net
from supernet import artifact
from supernet.model import Supernet


@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "torch"])
def test_a_folded_net_answers_at_once_by_either(
    artifact_folder: Path, folded_supernet: Supernet, name: opening.BackendName
) -> None:
    if name != "torch":
        pytest.importorskip(name)
    net = Net(artifact_folder)
    engine = opening.make_engine(net, opening.make_backend(name, threads=1), 10**6)
    arch = folded_supernet.space.largest
    x = np.ones((2, 1, 16, 16), np.float32)
    ran = engine.lane().run(arch, x)
    assert (ran.way, ran.logits.shape) == ("chain", (2, 10))
    costs = opening.measured_costs(engine, net.manifest.design_space)
    assert costs.of(arch.id).ms(1) > 0


def test_costs_are_measured_once(artifact_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    found = []
    for _ in range(2):
        net = Net(artifact_folder)
        backend = opening.make_backend("openvino", threads=1, cache=tmp_path)
        engine = opening.make_engine(net, backend, 10**6)
        costs = opening.measured_costs(engine, net.manifest.design_space)
        found.append([costs.of(a.id) for a in net.manifest.design_space.enumerate()])
    assert found[0] == found[1]


def test_costs_without_segments_lie_between_those_of_the_ends(
    artifact_folder: Path, folded_supernet: Supernet
) -> None:
    net = Net(artifact_folder)
    engine = opening.make_engine(net, opening.make_backend("torch", threads=1), 10**6)
    engine.chain = None
    space = folded_supernet.space
    costs = opening.measured_costs(engine, space)
    assert isinstance(costs, CostsByMacs)
    ends = sorted(costs.of(arch.id).ms(1) for arch in (space.smallest, space.largest))
    for arch in space.enumerate():
        assert ends[0] - 1e-9 <= costs.of(arch.id).ms(1) <= ends[1] + 1e-9


def test_what_cannot_be_had_is_said_in_one_line() -> None:
    with pytest.raises(ValueError, match="precision 'bf16': expected 'f32'"):
        opening.make_backend("torch", threads=1, precision="bf16", device="cpu")
    with pytest.raises(ValueError, match="device 'cuda:99': expected one that is there: cpu"):
        opening.make_backend("torch", threads=1, device="cuda:99")
    with pytest.raises(ValueError, match="device 'quantum': expected one that is there"):
        opening.make_backend("torch", threads=1, device="quantum")
    with pytest.raises(ValueError, match="device 'cuda': expected 'cpu' with the engine"):
        opening.make_backend("openvino", threads=1, device="cuda")
    with pytest.raises(ValueError, match="threads 2: expected 1 with the engine 'onnxruntime'"):
        opening.make_backend("onnxruntime", threads=2)
    with pytest.raises(ValueError, match="precision 'bf16': expected 'f32' with the engine 'onnx"):
        opening.make_backend("onnxruntime", precision="bf16")


def test_a_net_knows_whether_it_has_pieces(artifact_folder: Path) -> None:
    assert Net(artifact_folder).has_pieces
    assert artifact.load(artifact_folder).manifest.normalization == "piece-affine"


def test_cpus_are_at_least_one() -> None:
    assert opening.cpus() >= 1
