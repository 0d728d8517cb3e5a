"""A module's kernels launched as one CUDA graph, recorded once for each shape of its input.

A piece of a small subnet is a dozen kernels of microseconds each; launching them one by one costs
the host more than they take. A graph's buffers lie at fixed addresses: an input is copied in, and
the output is overwritten by the next run. The weights are the module's own, never copied.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

WARM_UP_RUNS = 3  # torch asks for some before a capture: libraries choose their kernels in them
MOST_IMAGES = 16  # of larger batches the kernels take longer than their launches
MOST_SHAPES = 64

Run = Callable[[Tensor], Tensor]
Capture = Callable[[nn.Module, Tensor], Run]
"""Records a module for inputs like the one given. Raises `RuntimeError` where that fails."""

_LOG = logging.getLogger(__name__)


class GraphedRunner:
    """A module, by graphs for small batches. For one thread at a time.

    What cannot be captured, and shapes beyond `MOST_SHAPES`, run kernel by kernel.
    """

    def __init__(self, module: nn.Module, capture: Capture) -> None:
        self._module, self._capture = module, capture
        self._runs: dict[torch.Size, Run] = {}
        self._captures = True

    def __call__(self, x: Tensor) -> Tensor:
        with torch.inference_mode():
            return self._run_of(x)(x)

    def _run_of(self, x: Tensor) -> Run:
        found = self._runs.get(x.shape)
        if found is not None:
            return found
        if not self._captures or len(x) > MOST_IMAGES or len(self._runs) >= MOST_SHAPES:
            return self._module
        try:
            run = self._runs[x.shape] = self._capture(self._module, x)
        except RuntimeError as error:
            self._captures = False
            _LOG.warning("no CUDA graph of a segment, which runs without one: %s", error)
            return self._module
        return run


def capture(module: nn.Module, example: Tensor) -> Run:
    """One graph on the device of `example`; other threads may go on launching meanwhile."""
    placed = torch.empty_like(example)
    placed.copy_(example)
    aside: torch.cuda.Stream = torch.cuda.Stream(example.device)  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream(example.device))
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP_RUNS):
            module(placed)
    torch.cuda.current_stream(example.device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        output: Tensor = module(placed)

    def run(x: Tensor) -> Tensor:
        placed.copy_(x)
        graph.replay()
        return output

    return run
