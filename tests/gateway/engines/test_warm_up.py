"""Warming up: every shape once, and only while nobody waits."""

import logging
import time

import pytest

pytest.importorskip("openvino")

from gateway.engines.backend import Values
from gateway.engines.chain_programs import ChainPrograms
from gateway.engines.openvino_backend import OpenvinoBackend, OpenvinoProgram, OpenvinoRunner
from gateway.engines.segments import segments
from gateway.engines.warm_up import WarmUp
from supernet.extract import pieces
from supernet.model import Supernet

RESOLUTIONS = (12, 16)


class Watched(OpenvinoBackend):
    """Keeps what ran: a program's number and the images."""

    most_images = 3

    def __init__(self) -> None:
        super().__init__()
        self.ran: set[tuple[int, tuple[int, ...]]] = set()
        self.fails = False
        self.released = 0


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Watched:
    backend, real = Watched(), OpenvinoRunner.__call__

    def run(runner: OpenvinoRunner, x: Values) -> Values:
        if backend.fails:
            raise RuntimeError("no memory")
        backend.ran.add((id(runner), tuple(x.shape)))
        return real(runner, x)

    def release(_: OpenvinoProgram) -> None:
        backend.released += 1

    monkeypatch.setattr(OpenvinoRunner, "__call__", run)
    monkeypatch.setattr(OpenvinoProgram, "release", release)
    return backend


def warm_up(backend: Watched, supernet: Supernet, *, idle: bool = True) -> WarmUp:
    chain = ChainPrograms(supernet.space, backend, lambda: pieces(supernet))
    return WarmUp(chain, backend, supernet.space, RESOLUTIONS, lambda: idle)


def until_done(work: WarmUp) -> None:
    until = time.monotonic() + 30
    while not work.done:
        assert time.monotonic() < until
        time.sleep(0.01)
    work.close()


def test_every_segment_runs_once_at_each_shape(backend: Watched, folded_supernet: Supernet) -> None:
    work = warm_up(backend, folded_supernet)
    work.start()
    until_done(work)
    count = len(segments(folded_supernet.space))
    assert len(backend.ran) == count * len(RESOLUTIONS) * backend.most_images
    assert {shape[0] for _, shape in backend.ran} == {1, 2, 3}
    assert backend.released == count


def test_nothing_runs_while_somebody_waits(backend: Watched, folded_supernet: Supernet) -> None:
    work = warm_up(backend, folded_supernet, idle=False)
    work.start()
    time.sleep(0.2)
    began = time.monotonic()
    work.close()
    assert time.monotonic() - began < 1
    assert not backend.ran
    assert not work.done


def test_what_fails_is_told_and_ends_it(
    backend: Watched, folded_supernet: Supernet, caplog: pytest.LogCaptureFixture
) -> None:
    work = warm_up(backend, folded_supernet)
    backend.fails = True
    with caplog.at_level(logging.WARNING):
        work.start()
        assert work._thread is not None
        work._thread.join(30)
    assert "warming up: no memory" in caplog.text
    assert not work.done
