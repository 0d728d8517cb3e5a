"""Every engine times chains of parts; what it runs is what torch runs."""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
import torch

from supernet.architecture import Architecture
from supernet.artifact import Artifact, load
from supernet.extract import extract, piece_names
from supernet.model import Supernet
from supernet.onnx_chain import onnx_chain
from training.exports.export import export
from training.profiles.engines import ENGINES, Setting, check_setting, open_engine
from training.profiles.parts import Parts, noise


@pytest.fixture(scope="module")
def parts(cubic: Artifact) -> Parts:
    return Parts(cubic.supernet, cubic.supernet.space.enumerate())


@pytest.fixture(scope="module")
def tiny_parts(folded_supernet: Supernet) -> Parts:
    """With squeeze-and-excitation and both activations."""
    return Parts(folded_supernet, folded_supernet.space.enumerate())


def test_a_part_is_there_once_and_takes_what_the_one_before_gives(
    cubic: Artifact, parts: Parts
) -> None:
    supernet = cubic.supernet
    assert len(parts.modules) == 11
    for arch in (supernet.space.smallest, supernet.space.largest):
        x = noise(parts.input_shape((arch.resolution, ("stem",)), 2))
        for name in piece_names(supernet, arch):
            assert x.shape == parts.input_shape((arch.resolution, (name,)), 2)
            x = parts.modules[name](x)
        assert x.shape == (2, 10)


def test_chains_as_onnx_compute_what_subnets_do_at_any_resolution_and_batch(
    folded_supernet: Supernet, tiny_parts: Parts
) -> None:
    archs = [Architecture.parse("d2-4@12"), Architecture.parse("d4-3@16")]
    for arch, batch in itertools.product(archs, (1, 3)):
        model = onnx_chain(tiny_parts.chain(piece_names(folded_supernet, arch)))
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        x = noise((batch, 1, arch.resolution, arch.resolution))
        (logits,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        np.testing.assert_allclose(logits, extract(folded_supernet, arch)(x), atol=1e-5)


def test_a_chain_has_the_operators_of_an_export(
    artifact_folder: Path, folded_supernet: Supernet, tiny_parts: Parts, tmp_path: Path
) -> None:
    arch = folded_supernet.space.smallest
    export(load(artifact_folder), arch, "onnx", tmp_path / "net")
    chain = onnx_chain(tiny_parts.chain(piece_names(folded_supernet, arch)))
    exported, own = onnx.load(tmp_path / "net"), onnx.load_from_string(chain)
    operators = [
        Counter(node.op_type.replace("Reshape", "Flatten") for node in model.graph.node)
        for model in (exported, own)
    ]
    assert operators[0] == operators[1]


def test_the_same_chain_is_the_same_bytes(tiny_parts: Parts) -> None:
    stem, head = tiny_parts.chain(("stem", "head"))
    assert onnx_chain([stem]) == onnx_chain([stem]) != onnx_chain([head])
    with pytest.raises(ValueError, match="layers like Tanh are not written as ONNX"):
        onnx_chain([torch.nn.Tanh()])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_engine_times_parts_and_subnets(
    folded_supernet: Supernet, engine: str, precision: str
) -> None:
    setting = Setting(engine, 1, precision, batch_size=2)  # type: ignore[arg-type]
    if precision not in ENGINES[engine].precisions:
        with pytest.raises(ValueError, match=f"precision 'bfloat16': the engine '{engine}' has f"):
            check_setting(setting)
        return
    parts = Parts(folded_supernet, [folded_supernet.space.largest])  # the engine's own
    opened = open_engine(parts, setting)
    assert opened.name.startswith(f"{engine} ")
    assert opened.processor
    names = piece_names(folded_supernet, folded_supernet.space.largest)
    whole, stem = opened.timer((16, names)), opened.timer((16, names[:1]))
    assert min(whole() for _ in range(5)) > min(stem() for _ in range(5)) > 0.0


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (Setting("tpu"), "engine 'tpu': expected one of torch, onnxruntime, openvino"),
        (Setting("openvino", device="cuda"), "device 'cuda': the engine 'openvino' has cpu"),
    ],
)
def test_what_an_engine_cannot_do_is_told(setting: Setting, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        check_setting(setting)


def test_a_package_that_is_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)  # as if it were not installed
    with pytest.raises(ValueError, match=r"needs openvino: pip install 'compofa\[export,openvino]"):
        check_setting(Setting("openvino"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(tiny_parts: Parts) -> None:
    with pytest.raises(ValueError, match="device 'cuda': torch finds none here"):
        open_engine(tiny_parts, Setting(device="cuda"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_waited_for(folded_supernet: Supernet) -> None:
    """A batch that is a hundred times as large takes longer on a GPU too, once it is waited for."""
    names = piece_names(folded_supernet, folded_supernet.space.largest)
    times = []
    for batch_size in (1, 100_000):
        parts = Parts(folded_supernet, [folded_supernet.space.largest])
        setting = Setting(device="cuda", batch_size=batch_size)
        timer = open_engine(parts, setting).timer((16, names))
        times.append(min(timer() for _ in range(10)))
    assert times[1] > 5 * times[0] > 0
