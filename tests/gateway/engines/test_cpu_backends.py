"""ONNX Runtime's and OpenVINO's programs against the modules they are made of."""

import sys
import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from subprocess import run
from typing import cast

import numpy as np
import pytest
import torch
from torch import nn

from gateway.engines.backend import Array, Backend
from gateway.engines.chain_programs import ChainPrograms
from supernet.architecture import Architecture
from supernet.extract import extract, pieces
from supernet.model import Supernet

BACKENDS = {"onnxruntime": "OnnxRuntimeBackend", "openvino": "OpenvinoBackend"}
Make = Callable[..., Backend]


@pytest.fixture(params=BACKENDS)
def make(request: pytest.FixtureRequest) -> Make:
    name: str = request.param
    pytest.importorskip(name)
    return cast("Make", getattr(import_module(f"gateway.engines.{name}_backend"), BACKENDS[name]))


@pytest.mark.parametrize(("rows", "kept"), [(1, False), (3, False), (3, True)])
def test_every_chain_is_its_subnet(
    folded_supernet: Supernet, rows: int, kept: bool, make: Make, tmp_path: Path
) -> None:
    space, backend = folded_supernet.space, make(cache=tmp_path if kept else None)
    runners = ChainPrograms(space, backend, lambda: pieces(folded_supernet)).runners()
    for arch in space.enumerate():
        x = torch.randn(rows, 1, arch.resolution, arch.resolution)
        y = backend.to_array(runners(arch, backend.to_values(x.numpy())))
        np.testing.assert_allclose(y, extract(folded_supernet, arch)(x), rtol=1e-4, atol=1e-4)


def test_a_later_run_leaves_an_answer_alone(folded_supernet: Supernet, make: Make) -> None:
    backend, arch = make(), folded_supernet.space.largest
    programs = ChainPrograms(folded_supernet.space, backend, lambda: pieces(folded_supernet))
    runners = programs.runners()
    x = np.random.default_rng(0).normal(size=(2, 1, 1, 16, 16)).astype(np.float32)
    first = backend.to_array(runners(arch, backend.to_values(x[0])))
    kept = first.copy()
    runners(arch, backend.to_values(x[1]))
    np.testing.assert_array_equal(first, kept)


def test_a_second_process_needs_no_pieces(
    folded_supernet: Supernet, tmp_path: Path, make: Make
) -> None:
    space = folded_supernet.space

    def no_pieces() -> Mapping[str, nn.Module]:
        raise AssertionError("expected everything from the cache")

    x = np.ones((1, 1, 16, 16), np.float32)
    answers = []
    for source in (lambda: pieces(folded_supernet), no_pieces):
        backend = make(cache=tmp_path)
        runners = ChainPrograms(space, backend, source).runners()
        answers.append(backend.to_array(runners(space.largest, backend.to_values(x))))
    np.testing.assert_array_equal(answers[0], answers[1])


def test_weights_are_mapped_from_the_cache_and_made_again_where_they_are_damaged(
    folded_supernet: Supernet, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    from gateway.engines.onnxruntime_backend import OnnxRuntimeBackend

    arch, built = folded_supernet.space.largest, []
    x = np.ones((1, 1, 16, 16), np.float32)

    def build() -> list[nn.Module]:
        built.append(arch)
        return [extract(folded_supernet, arch)]

    answers = []
    for damaged in (False, False, True):
        backend = OnnxRuntimeBackend(cache=tmp_path)
        assert backend.cache is not None
        weights = backend.cache.path(f"{arch.id} weights")
        if damaged:
            weights.write_bytes(weights.read_bytes()[:-1] + b"x")
        run = backend.compile(arch.id, build, (-1, 1, 16, 16)).runner()
        answers.append(backend.to_array(run(backend.to_values(x))))
        assert str(weights) in Path("/proc/self/maps").read_text()
    assert len(built) == 2
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer, answers[0])


@pytest.mark.parametrize("name", BACKENDS)
def test_imports_no_torch(name: str) -> None:
    pytest.importorskip(name)
    code = f"import sys, gateway.engines.engine, gateway.engines.{name}_backend as _; "
    code += "sys.exit('torch' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_a_module_without_a_translation_is_traced(make: Make) -> None:
    backend = make()
    net = nn.Sequential(nn.Linear(4, 3), nn.Softplus()).eval()
    runner = backend.compile("odd", lambda: [net], (-1, 4)).runner()
    x = torch.randn(5, 4)
    y = backend.to_array(runner(backend.to_values(x.numpy())))
    np.testing.assert_allclose(y, net(x).detach(), rtol=1e-5, atol=1e-6)


def test_lanes_at_once_do_not_meet(folded_supernet: Supernet, make: Make) -> None:
    backend, space = make(), folded_supernet.space
    programs = ChainPrograms(space, backend, lambda: pieces(folded_supernet))
    images = np.random.default_rng(0).normal(size=(4, 2, 1, 16, 16)).astype(np.float32)
    arch = space.largest
    alone = [_logits(programs, backend, arch, x) for x in images]
    found: list[list[Array]] = [[] for _ in images]

    def lane(x: Array, answers: list[Array]) -> None:
        runners = programs.runners()
        for _ in range(20):
            answers.append(backend.to_array(runners(arch, backend.to_values(x))))

    threads = [threading.Thread(target=lane, args=pair) for pair in zip(images, found, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for expected, answers in zip(alone, found, strict=True):
        assert len(answers) == 20
        for answer in answers:
            np.testing.assert_array_equal(answer, expected)


def _logits(programs: ChainPrograms, backend: Backend, arch: Architecture, x: Array) -> Array:
    return backend.to_array(programs.runners()(arch, backend.to_values(x)))
