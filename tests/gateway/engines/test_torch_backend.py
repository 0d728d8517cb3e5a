"""torch as a backend: the same answers as the modules it is given."""

import numpy as np
import torch

from gateway.engines.chain_programs import ChainPrograms
from gateway.engines.torch_backend import TorchBackend
from supernet.extract import extract, pieces
from supernet.model import Supernet


def test_every_chain_is_its_subnet(folded_supernet: Supernet) -> None:
    space, backend = folded_supernet.space, TorchBackend()
    runners = ChainPrograms(space, backend, lambda: pieces(folded_supernet)).runners()
    for arch in space.enumerate():
        x = torch.randn(2, 1, arch.resolution, arch.resolution)
        y = backend.to_array(runners(arch, backend.to_values(x.numpy())))
        np.testing.assert_allclose(y, extract(folded_supernet, arch)(x), rtol=1e-4, atol=1e-4)


def test_an_answer_is_left_alone(folded_supernet: Supernet) -> None:
    backend, arch = TorchBackend(), folded_supernet.space.largest
    program = backend.compile("whole", lambda: [extract(folded_supernet, arch)], (-1, 1, 16, 16))
    x = np.ones((1, 1, 16, 16), np.float32)
    first = backend.to_array(program.runner()(backend.to_values(x)))
    kept = first.copy()
    program.runner()(backend.to_values(2 * x))
    np.testing.assert_array_equal(first, kept)
