"""Which subnets processes have whole is decided once for all of them.

What stands in the cache under the largest subnet's name is another one, so that answers tell
whether it ran whole.
"""

from __future__ import annotations

import resource
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from gateway.compiling import CompileAside
from gateway.config import ServerConfig
from gateway.engines.engine import Engine
from gateway.engines.hot_subnets import HotSubnets
from gateway.request import Logits
from gateway.workers.processes import ProcessWorker
from supernet.architecture import Architecture
from tests.gateway.workers import children
from tests.gateway.workers.batches import LARGEST, SUBNET, batch, tensor
from tests.gateway.workers.conftest import MakeProcesses, cache_of

ARCH = Architecture.parse(LARGEST)
X = np.frombuffer(tensor().data, np.float32).reshape(1, 1, 16, 16)


@pytest.fixture
def expected(engine: Engine) -> dict[str, Logits]:
    """As of a chain, and as of what the cache has for whole."""
    run = engine.lane().run
    found = {"chain": run(ARCH, X).logits, "whole": run(Architecture.parse(SUBNET), X).logits}
    assert not np.allclose(found["chain"], found["whole"], atol=0.1)
    return found


async def way(worker: ProcessWorker, expected: dict[str, Logits]) -> str:
    """In which a worker's process answers for the largest."""
    (run,) = (await worker.run(batch(tensor(), subnet=LARGEST))).runs
    (found,) = (w for w, y in expected.items() if np.allclose(y, run.logits, rtol=1e-4, atol=1e-4))
    return found


async def test_all_have_what_is_whole_and_those_started_later_too(
    make_processes: MakeProcesses, told_apart: ServerConfig, expected: dict[str, Logits]
) -> None:
    processes = make_processes(told_apart, workers=2)
    workers = [processes.worker() for _ in range(2)]
    assert [await way(worker, expected) for worker in workers] == ["chain"] * 2
    processes.whole.obtain(ARCH)
    assert [await way(worker, expected) for worker in workers] == ["whole"] * 2
    assert (processes.whole_subnets, processes.compile_failures) == (1, 0)
    children.kill(workers[0]._process.pid)
    assert await way(workers[0], expected) == "whole"
    assert processes.lost == 1


async def test_those_that_are_started_meanwhile_have_it_too(
    make_processes: MakeProcesses,
    told_apart: ServerConfig,
    expected: dict[str, Logits],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = cache_of(told_apart)
    kept = cache.path(LARGEST).rename(cache.path(LARGEST).with_suffix(".kept"))
    processes = make_processes(told_apart)
    workers = [processes.worker()]

    def compile_slowly(_: CompileAside, arch: Architecture) -> None:
        workers.append(processes.worker())
        kept.rename(cache.path(arch.id))

    monkeypatch.setattr(CompileAside, "__call__", compile_slowly)
    processes.whole.obtain(ARCH)
    assert [await way(worker, expected) for worker in workers] == ["whole"] * 2


async def test_nothing_waits_for_a_process_that_is_gone(
    make_processes: MakeProcesses, told_apart: ServerConfig, expected: dict[str, Logits]
) -> None:
    processes = make_processes(told_apart, workers=2)
    workers = [processes.worker() for _ in range(2)]
    children.kill(workers[0]._process.pid)
    processes.whole.obtain(ARCH)
    assert [await way(worker, expected) for worker in workers] == ["whole"] * 2
    assert processes.compile_failures == 0


async def test_what_is_given_up_leaves_all_of_them(
    make_processes: MakeProcesses, told_apart: ServerConfig, expected: dict[str, Logits]
) -> None:
    processes = make_processes(told_apart, workers=2)
    workers = [processes.worker() for _ in range(2)]
    processes.whole.obtain(ARCH)
    chain_bytes = processes.chain_bytes
    assert processes.resident_bytes > chain_bytes
    processes.whole.give_up(ARCH)
    assert [await way(worker, expected) for worker in workers] == ["chain"] * 2
    assert processes.resident_bytes == chain_bytes


async def test_room_is_made_in_all_of_them(
    make_processes: MakeProcesses, told_apart: ServerConfig, expected: dict[str, Logits]
) -> None:
    processes = make_processes(told_apart, max_resident_bytes=1)
    worker = processes.worker()
    processes.whole.obtain(ARCH)
    assert await way(worker, expected) == "whole"
    processes.whole.obtain(Architecture.parse(SUBNET))
    assert await way(worker, expected) == "chain"
    assert processes.whole.archs == (Architecture.parse(SUBNET),)


async def test_what_runs_most_becomes_whole(
    make_processes: MakeProcesses, told_apart: ServerConfig, expected: dict[str, Logits]
) -> None:
    processes = make_processes(told_apart)
    worker = processes.worker()
    for _ in range(3):
        assert await way(worker, expected) == "chain"
    hot = HotSubnets(processes.whole, processes.usage, least_runs=2.0)
    assert hot.compile_one() == ARCH
    assert await way(worker, expected) == "whole"


async def test_what_has_to_be_compiled_leaves_torch_in_no_worker_s_process(
    make_processes: MakeProcesses, told_apart: ServerConfig, expected: dict[str, Logits]
) -> None:
    """A segment at the start, and a whole subnet later."""
    cache, new = cache_of(told_apart), Architecture.parse("d3-3@16")
    cache.path("head").write_bytes(b"torn")
    processes = make_processes(told_apart)
    worker = processes.worker()
    assert cache.read("head") is not None
    assert await way(worker, expected) == "chain"
    assert cache.read(new.id) is None
    processes.whole.obtain(new)
    assert worker._process.have(new, whole=True)
    assert processes.lost == 0
    mapped = Path(f"/proc/{worker._process.pid}/maps").read_text()
    assert "onnxruntime" in mapped
    assert "libtorch" not in mapped


async def test_what_one_of_them_cannot_load_none_has(
    make_processes: MakeProcesses, told_apart: ServerConfig, expected: dict[str, Logits]
) -> None:
    processes = make_processes(told_apart, workers=2)
    workers = [processes.worker() for _ in range(2)]
    pids = [worker._process.pid for worker in workers]
    last = max(pids, key=[*processes.processes().values()].index)
    before = resource.prlimit(last, resource.RLIMIT_NOFILE)
    resource.prlimit(last, resource.RLIMIT_NOFILE, (3, before[1]))  # it can open no file
    with pytest.raises(RuntimeError, match="does not keep it"):
        processes.whole.obtain(ARCH)
    resource.prlimit(last, resource.RLIMIT_NOFILE, before)
    assert [await way(worker, expected) for worker in workers] == ["chain"] * 2
    assert (processes.resident_bytes, processes.lost) == (processes.chain_bytes, 0)


def test_what_the_runtime_refuses_is_said_in_its_words(
    make_processes: MakeProcesses, told_apart: ServerConfig
) -> None:
    cache_of(told_apart).write(LARGEST, b"no model")
    processes = make_processes(told_apart)
    with pytest.raises(RuntimeError, match=r"(?i)protobuf"):
        processes.whole.obtain(ARCH)


def test_a_model_whose_weights_are_gone_is_compiled_aside(
    make_processes: MakeProcesses, told_apart: ServerConfig
) -> None:
    cache = cache_of(told_apart)
    cache.path(f"{LARGEST} weights").unlink()
    processes = make_processes(told_apart)
    worker = processes.worker()
    processes.whole.obtain(ARCH)
    assert cache.file(f"{LARGEST} weights") is not None
    assert "libtorch" not in Path(f"/proc/{worker._process.pid}/maps").read_text()


def test_what_cannot_be_compiled_is_said_and_whole_in_none(
    make_processes: MakeProcesses, config: ServerConfig, tmp_path: Path
) -> None:
    shutil.copytree(config.artifact, tmp_path / "net")
    processes = make_processes(config, artifact=tmp_path / "net")
    shutil.rmtree(tmp_path / "net")
    with pytest.raises(RuntimeError):
        processes.whole.obtain(Architecture.parse("d3-3@16"))
    assert (processes.whole_subnets, processes.compile_failures) == (0, 1)
    assert processes.whole.obtain(ARCH).size_bytes > 0, "expected it from the cache"
