"""When a graph is captured and when kernels are launched one by one; a GPU itself, if there is."""

import pytest
import torch
from torch import Tensor, nn

from gateway.engines import cuda_graphs
from gateway.engines.cuda_graphs import GraphedRunner, Run


class Captures:
    """Counts captures; what they give runs as a graph does, from and into buffers of its own."""

    def __init__(self) -> None:
        self.shapes: list[torch.Size] = []

    def __call__(self, module: nn.Module, example: Tensor) -> Run:
        self.shapes.append(example.shape)
        placed, output = example.clone(), torch.empty_like(module(example))

        def run(x: Tensor) -> Tensor:
            placed.copy_(x)
            return output.copy_(module(placed))

        return run


def test_each_shape_is_captured_once() -> None:
    captures, module = Captures(), nn.Conv2d(1, 2, 3)
    runner = GraphedRunner(module, captures)
    for shape in ((1, 1, 8, 8), (2, 1, 8, 8), (1, 1, 8, 8), (1, 1, 6, 6), (2, 1, 8, 8)):
        x = torch.randn(shape)
        with torch.inference_mode():
            torch.testing.assert_close(runner(x), module(x))
    assert [tuple(shape) for shape in captures.shapes] == [(1, 1, 8, 8), (2, 1, 8, 8), (1, 1, 6, 6)]


def test_large_batches_and_too_many_shapes_run_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "MOST_SHAPES", 2)
    captures, module = Captures(), nn.Identity()
    runner = GraphedRunner(module, captures)
    for rows in (cuda_graphs.MOST_IMAGES + 1, 1, 2, 3, 1):
        x = torch.randn(rows, 1, 2, 2)
        torch.testing.assert_close(runner(x), x)
    assert [shape[0] for shape in captures.shapes] == [1, 2]


def test_what_cannot_be_captured_still_runs(caplog: pytest.LogCaptureFixture) -> None:
    asked = []

    def fails(_module: nn.Module, example: Tensor) -> Run:
        asked.append(example.shape)
        raise RuntimeError("operation not permitted when stream is capturing")

    runner, x = GraphedRunner(nn.Identity(), fails), torch.ones(1, 1, 2, 2)
    for _ in range(3):
        torch.testing.assert_close(runner(x), x)
    assert len(asked) == 1
    assert "no CUDA graph" in caplog.text


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use")
def test_a_graph_gives_what_its_module_gives() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Hardswish()).cuda()
    runner = GraphedRunner(module, cuda_graphs.capture)
    for rows in (1, 4, 1):
        x = torch.randn(rows, 3, 16, 16, device="cuda")
        with torch.inference_mode():
            torch.testing.assert_close(runner(x), module(x))
