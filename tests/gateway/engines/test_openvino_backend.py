"""OpenVINO's programs against the modules they are made of."""

import sys
from collections.abc import Mapping
from pathlib import Path
from subprocess import run

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("openvino")

from gateway.engines.chain_programs import ChainPrograms
from gateway.engines.openvino_backend import OpenvinoBackend
from supernet.extract import extract, pieces
from supernet.model import Supernet


@pytest.mark.parametrize("rows", [1, 3])
def test_every_chain_is_its_subnet(folded_supernet: Supernet, rows: int) -> None:
    space, backend = folded_supernet.space, OpenvinoBackend()
    runners = ChainPrograms(space, backend, lambda: pieces(folded_supernet)).runners()
    for arch in space.enumerate():
        x = torch.randn(rows, 1, arch.resolution, arch.resolution)
        y = backend.to_array(runners(arch, backend.to_values(x.numpy())))
        np.testing.assert_allclose(y, extract(folded_supernet, arch)(x), rtol=1e-4, atol=1e-4)


def test_a_later_run_leaves_an_answer_alone(folded_supernet: Supernet) -> None:
    backend, arch = OpenvinoBackend(), folded_supernet.space.largest
    programs = ChainPrograms(folded_supernet.space, backend, lambda: pieces(folded_supernet))
    runners = programs.runners()
    x = np.random.default_rng(0).normal(size=(2, 1, 1, 16, 16)).astype(np.float32)
    first = backend.to_array(runners(arch, backend.to_values(x[0])))
    kept = first.copy()
    runners(arch, backend.to_values(x[1]))
    np.testing.assert_array_equal(first, kept)


def test_a_second_process_needs_no_pieces(folded_supernet: Supernet, tmp_path: Path) -> None:
    space = folded_supernet.space

    def no_pieces() -> Mapping[str, nn.Module]:
        raise AssertionError("expected everything from the cache")

    x = np.ones((1, 1, 16, 16), np.float32)
    answers = []
    for source in (lambda: pieces(folded_supernet), no_pieces):
        backend = OpenvinoBackend(cache=tmp_path)
        runners = ChainPrograms(space, backend, source).runners()
        answers.append(backend.to_array(runners(space.largest, backend.to_values(x))))
    np.testing.assert_array_equal(answers[0], answers[1])


def test_imports_no_torch() -> None:
    code = "import sys, gateway.engines.engine, gateway.engines.openvino_backend as _; "
    code += "sys.exit('torch' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_a_module_without_a_translation_is_traced() -> None:
    backend = OpenvinoBackend()
    net = nn.Sequential(nn.Linear(4, 3), nn.Softplus()).eval()
    runner = backend.compile("odd", lambda: [net], (-1, 4)).runner()
    x = torch.randn(5, 4)
    y = backend.to_array(runner(backend.to_values(x.numpy())))
    np.testing.assert_allclose(y, net(x).detach(), rtol=1e-5, atol=1e-6)
