"""The engine: chains at once, whole subnets in the background, within the memory bound."""

import os
import sys
import threading
import time

import numpy as np
import pytest

pytest.importorskip("openvino")

from gateway.engines.backend import Program
from gateway.engines.chain_programs import ChainPrograms
from gateway.engines.engine import Engine
from gateway.engines.hot_subnets import HotSubnets
from gateway.engines.openvino_backend import OpenvinoBackend
from gateway.engines.usage import Usage
from gateway.engines.whole_subnets import FAILED_FOR_S, WholeSubnets
from supernet.architecture import Architecture
from supernet.complexity import complexity
from supernet.extract import extract, pieces
from supernet.model import Supernet

X = np.random.default_rng(0).normal(size=(2, 1, 16, 16)).astype(np.float32)


class Parts:
    """An engine over the tiny net, and what it is made of."""

    def __init__(self, supernet: Supernet, max_bytes: int = 10**6, *, chained: bool = True) -> None:
        self.space, self.backend, self.usage = supernet.space, OpenvinoBackend(), Usage()
        self.compiled: list[Architecture] = []
        self.supernet = supernet
        self.whole = WholeSubnets(self.compile, self.size_of, self.usage, max_bytes)
        self.chain = (
            ChainPrograms(self.space, self.backend, lambda: pieces(supernet)) if chained else None
        )
        self.engine = Engine(self.backend, self.whole, self.usage, self.chain)

    def compile(self, arch: Architecture) -> Program:
        self.compiled.append(arch)
        size = (-1, 1, arch.resolution, arch.resolution)
        return self.backend.compile(arch.id, lambda: [extract(self.supernet, arch)], size)

    def size_of(self, arch: Architecture) -> int:
        return 4 * complexity(self.space, arch).parameters


@pytest.fixture
def parts(folded_supernet: Supernet) -> Parts:
    return Parts(folded_supernet)


def test_whole_and_chain_answer_alike(parts: Parts) -> None:
    lane, arch = parts.engine.lane(), parts.space.largest
    chained = lane.run(arch, X)
    parts.whole.obtain(arch)
    whole = lane.run(arch, X)
    assert (chained.way, whole.way) == ("chain", "whole")
    np.testing.assert_allclose(chained.logits, whole.logits, rtol=1e-4, atol=1e-4)
    assert chained.compute_ms > 0


def test_without_a_chain_a_subnet_is_compiled_when_it_first_runs(
    folded_supernet: Supernet,
) -> None:
    parts = Parts(folded_supernet, chained=False)
    lane = parts.engine.lane()
    assert [lane.run(parts.space.largest, X).way for _ in range(2)] == ["whole", "whole"]
    assert parts.compiled == [parts.space.largest]


def test_what_runs_most_is_compiled_first_and_stays(folded_supernet: Supernet) -> None:
    rare, often = (Architecture(depths, 16) for depths in ((4, 3), (4, 4)))
    parts = Parts(
        folded_supernet, max_bytes=4 * complexity(folded_supernet.space, often).parameters
    )
    hot = HotSubnets(parts.whole, parts.usage, least_runs=2.0)
    lane = parts.engine.lane()
    for arch in (rare, rare, rare, often, often, often, often):
        lane.run(arch, X)
    assert hot.compile_one() == often
    assert hot.compile_one() is None, "expected no room for one that runs less"
    assert parts.whole.archs == (often,)


def test_what_bursts_run_is_compiled_before_it_has_run(folded_supernet: Supernet) -> None:
    cheapest, often = (Architecture(depths, 16) for depths in ((3, 3), (4, 4)))
    parts = Parts(folded_supernet)
    hot = HotSubnets(parts.whole, parts.usage, cheapest, least_runs=3.0, before_bursts=1.5)
    lane = parts.engine.lane()
    lane.run(often, X)
    assert hot.compile_one() is None, "expected nothing compiled for a net that hardly runs"
    lane.run(often, X)
    assert [hot.compile_one() for _ in range(2)] == [cheapest, None]
    for _ in range(2):
        lane.run(often, X)
    assert [hot.compile_one() for _ in range(2)] == [often, None]


def test_what_bursts_run_makes_no_room_for_itself(folded_supernet: Supernet) -> None:
    cheapest, often = (Architecture(depths, 16) for depths in ((3, 3), (4, 4)))
    parts = Parts(
        folded_supernet, max_bytes=4 * complexity(folded_supernet.space, often).parameters
    )
    hot = HotSubnets(parts.whole, parts.usage, cheapest, least_runs=3.0, before_bursts=1.5)
    lane = parts.engine.lane()
    for _ in range(3):
        lane.run(often, X)
    parts.whole.obtain(often)
    assert hot.compile_one() is None
    assert parts.whole.archs == (often,)


def test_room_is_made_by_giving_up_the_least_used(folded_supernet: Supernet) -> None:
    old, new = (Architecture(depths, 16) for depths in ((4, 3), (4, 4)))
    parts = Parts(folded_supernet, max_bytes=4 * complexity(folded_supernet.space, new).parameters)
    lane = parts.engine.lane()
    parts.whole.obtain(old)
    assert lane.run(old, X).way == "whole"
    for _ in range(3):
        lane.run(new, X)
    parts.whole.obtain(new)
    assert [lane.run(arch, X).way for arch in (old, new)] == ["chain", "whole"]
    assert parts.whole.resident_bytes <= parts.size_of(new)


def test_a_compilation_that_fails_is_counted_and_left_alone(
    parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(arch: Architecture) -> Program:
        parts.compiled.append(arch)
        raise MemoryError("cannot allocate")

    whole = WholeSubnets(fails, parts.size_of, parts.usage, 10**6)
    hot = HotSubnets(whole, parts.usage, least_runs=1.0)
    lane = parts.engine.lane()
    lane.run(parts.space.largest, X)
    lane.run(parts.space.largest, X)
    assert [hot.compile_one(), hot.compile_one()] == [None, None]
    assert (hot.whole.failures, len(parts.compiled)) == (1, 1)
    assert "it runs as a chain" in caplog.text
    assert lane.run(parts.space.largest, X).way == "chain"


def test_what_could_not_be_compiled_is_not_tried_again_at_once(parts: Parts) -> None:
    now = 0.0

    def fails(arch: Architecture) -> Program:
        parts.compiled.append(arch)
        raise MemoryError("cannot allocate")

    whole = WholeSubnets(fails, parts.size_of, parts.usage, 10**6, lambda: now)
    for _ in range(9):
        with pytest.raises(MemoryError):
            whole.obtain(parts.space.largest)
    assert (len(parts.compiled), whole.failures) == (1, 1)
    now = FAILED_FOR_S
    with pytest.raises(MemoryError):
        whole.obtain(parts.space.largest)
    assert len(parts.compiled) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_what_compiles_keeps_no_lock_at_a_lower_priority(folded_supernet: Supernet) -> None:
    seen: list[int] = []

    class Noted(Parts):
        def compile(self, arch: Architecture) -> Program:
            seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            return super().compile(arch)

    parts = Noted(folded_supernet)
    lane = parts.engine.lane()
    for _ in range(2):
        lane.run(parts.space.largest, X)
    hot = HotSubnets(parts.whole, parts.usage, interval_s=0.01, least_runs=1.0)
    hot.start()
    until = time.monotonic() + 20
    while not seen and time.monotonic() < until:
        time.sleep(0.01)
    hot.close()
    assert seen == [os.getpriority(os.PRIO_PROCESS, threading.get_native_id())]


def test_the_background_thread_compiles_while_lanes_run(parts: Parts) -> None:
    hot = HotSubnets(parts.whole, parts.usage, interval_s=0.01, least_runs=5.0)
    hot.start()
    lane, arch = parts.engine.lane(), parts.space.largest
    expected = lane.run(arch, X).logits
    ways = set()
    deadline = threading.Event()
    timer = threading.Timer(20, deadline.set)
    timer.start()
    while "whole" not in ways and not deadline.is_set():
        ran = lane.run(arch, X)
        ways.add(ran.way)
        np.testing.assert_allclose(ran.logits, expected, rtol=1e-4, atol=1e-4)
    timer.cancel()
    hot.close()
    assert ways == {"chain", "whole"}


def test_threads_share_a_compilation(parts: Parts) -> None:
    arch, found = parts.space.largest, []
    threads = [
        threading.Thread(target=lambda: found.append(parts.whole.obtain(arch))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(parts.compiled) == 1
    assert all(whole is found[0] for whole in found)


def test_a_failed_compilation_reaches_whoever_waits_and_is_tried_again(parts: Parts) -> None:
    tries = []

    def first_fails(arch: Architecture) -> Program:
        tries.append(arch)
        if len(tries) == 1:
            raise RuntimeError("no")
        return parts.compile(arch)

    times = iter((0.0, FAILED_FOR_S))
    whole = WholeSubnets(first_fails, parts.size_of, parts.usage, 10**6, lambda: next(times))
    with pytest.raises(RuntimeError, match="no"):
        whole.obtain(parts.space.largest)
    assert whole.obtain(parts.space.largest).size_bytes > 0


def test_more_images_than_a_run_has_are_run_in_parts(parts: Parts) -> None:
    lane, arch, most = parts.engine.lane(), parts.space.largest, parts.engine.most_images
    x = np.random.default_rng(1).normal(size=(2 * most + 1, 1, 16, 16)).astype(np.float32)
    alone = [lane.run(arch, x[i : i + 1]).logits for i in range(len(x))]
    np.testing.assert_allclose(
        lane.run(arch, x).logits, np.concatenate(alone), rtol=1e-4, atol=1e-4
    )
