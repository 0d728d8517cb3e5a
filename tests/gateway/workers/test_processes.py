"""A process for each worker: what it answers, and what comes of those that it dies on."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from gateway.child_process import environment
from gateway.config import ServerConfig
from gateway.engines.engine import Engine
from gateway.engines.net import Net
from gateway.errors import DeadlineExceeded, GatewayError, InvalidRequest
from gateway.request import ImageInput, Logits, ModelInput
from gateway.workers.batch import Batch, Outcome
from gateway.workers.executor import Executor
from gateway.workers.preparers import Preparers
from gateway.workers.processes import ProcessWorker, WorkerProcesses
from gateway.workers.worker_process import WorkerProcess
from supernet.architecture import Architecture
from tests.gateway.workers import children
from tests.gateway.workers.batches import SUBNET, batch, image, large_image, tensor
from tests.gateway.workers.conftest import MakeProcesses

POISON, BROKEN = tensor(666), ImageInput(b"no image")
GATEWAY = """
import sys
from gateway.config import ServerConfig
from gateway.engines.net import Net
from gateway.workers.processes import WorkerProcesses
config = ServerConfig.model_validate_json(sys.argv[1])
processes = WorkerProcesses(config, Net(config.artifact))
print(*processes.processes().values(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def in_thread(engine: Engine, config: ServerConfig) -> Callable[[Batch], Outcome]:
    """What a worker in a thread makes of a batch."""
    return Executor(engine.lane(), Net(config.artifact).manifest, Preparers(1)).run


@pytest.fixture
def deadly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is handed the poison is killed on it."""
    run = WorkerProcess.run

    async def killed(process: WorkerProcess, batch: Batch, most_s: float) -> Outcome:
        if POISON not in batch.inputs:
            return await run(process, batch, most_s)
        children.stop(process.pid)
        running = asyncio.create_task(run(process, batch))
        await asyncio.sleep(0)  # it is handed over
        os.kill(process.pid, signal.SIGKILL)
        return await running

    monkeypatch.setattr(WorkerProcess, "run", killed)


def pid(worker: ProcessWorker) -> int:
    return worker._process.pid


def pids(processes: WorkerProcesses) -> set[int]:
    return {*processes.processes().values()}


def answers(outcome: Outcome) -> dict[tuple[int, ...], Logits]:
    return {run.places: run.logits for run in outcome.runs}


def kinds(outcome: Outcome) -> dict[int, type[GatewayError]]:
    return {place: type(error) for place, error in outcome.errors.items()}


async def test_answers_are_those_of_a_thread(
    worker: ProcessWorker, in_thread: Callable[[Batch], Outcome]
) -> None:
    for given in (batch(image(1), tensor(2, rows=3), image(4, side=50)), batch(tensor(5))):
        found, expected = await worker.run(given), in_thread(given)
        for ours, theirs in zip(found.runs, expected.runs, strict=True):
            np.testing.assert_allclose(ours.logits, theirs.logits, rtol=1e-4, atol=1e-4)
            for name in ("places", "rows", "classes", "finite"):
                assert getattr(ours, name) == getattr(theirs, name)
            assert ours.compute_ms > 0


async def test_who_cannot_be_answered_is_told_what_a_thread_says(
    worker: ProcessWorker, in_thread: Callable[[Batch], Outcome]
) -> None:
    given = Batch(SUBNET, (image(1), BROKEN, tensor(2)), (np.inf, np.inf, 0.0))
    found, expected = await worker.run(given), in_thread(given)
    assert kinds(found) == {1: InvalidRequest, 2: DeadlineExceeded}
    assert {place: error.safe_message for place, error in found.errors.items()} == {
        place: error.safe_message for place, error in expected.errors.items()
    }
    assert answers(found).keys() == {(0,)}


async def test_a_large_image_is_postponed_there_as_well(worker: ProcessWorker) -> None:
    outcome = await worker.run(batch(large_image(), tensor()))
    assert outcome.postponed == (0,)
    assert answers(outcome).keys() == {(1,)}


async def test_each_worker_has_a_process_of_its_own(
    processes: WorkerProcesses, workers: tuple[ProcessWorker, ProcessWorker]
) -> None:
    one, other = workers
    assert {pid(one), pid(other)} == pids(processes)
    assert len({pid(one), pid(other), os.getpid()}) == 3
    children.stop(pid(one))
    waiting = asyncio.create_task(one.run(batch(tensor(1))))
    assert (await asyncio.wait_for(other.run(batch(tensor(2))), 10)).errors == {}
    assert not waiting.done()
    os.kill(pid(one), signal.SIGCONT)
    assert (await asyncio.wait_for(waiting, 10)).errors == {}


async def test_each_run_counts_for_its_subnet(
    processes: WorkerProcesses, workers: tuple[ProcessWorker, ProcessWorker]
) -> None:
    for worker in workers:
        await worker.run(batch(tensor(), tensor(), subnet="d3-2@16"))
    counts = processes.runs()
    assert counts[Architecture.parse("d3-2@16")] == pytest.approx(2, abs=0.5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
async def test_signals_are_the_gateway_s(
    processes: WorkerProcesses, worker: ProcessWorker, number: signal.Signals
) -> None:
    told, lost = pid(worker), processes.lost
    assert os.getpgid(told) == told, "expected that Ctrl-C does not reach it"
    os.kill(told, number)
    assert (await worker.run(batch(tensor()))).errors == {}
    assert (pid(worker), processes.lost) == (told, lost)


def test_processes_are_told_nothing_secret(processes: WorkerProcesses) -> None:
    assert "sesame" not in processes._setup.model_dump_json()
    for process in pids(processes):
        assert b"sesame" not in Path(f"/proc/{process}/cmdline").read_bytes()


def test_what_is_known_of_an_engine_is_known_of_them(
    processes: WorkerProcesses, engine: Engine
) -> None:
    assert processes.costs.of(SUBNET).ms(1) > 0
    for name in ("name", "chain_bytes", "most_images", "learns_shapes"):
        assert getattr(processes, name) == getattr(engine, name)


async def test_one_that_ended_while_idle_is_replaced(
    processes: WorkerProcesses, worker: ProcessWorker, in_thread: Callable[[Batch], Outcome]
) -> None:
    first, lost, given = pid(worker), processes.lost, batch(tensor(1), tensor(2))
    children.kill(first)
    outcome = await worker.run(given)
    assert answers(outcome).keys() == {(0, 1)}, "expected no run one by one"
    np.testing.assert_allclose(
        outcome.runs[0].logits, in_thread(given).runs[0].logits, rtol=1e-4, atol=1e-4
    )
    assert (processes.lost - lost, outcome.failed_together) == (1, False)
    assert pid(worker) in pids(processes) - {first}
    assert first not in pids(processes)


@pytest.mark.usefixtures("deadly")
async def test_a_batch_that_one_dies_on_is_run_one_by_one(
    processes: WorkerProcesses, worker: ProcessWorker, in_thread: Callable[[Batch], Outcome]
) -> None:
    lost = processes.lost
    inputs: tuple[ModelInput, ...] = (image(1), POISON, tensor(2), tensor(3, rows=2))
    outcome = await worker.run(Batch(SUBNET, inputs, (np.inf, np.inf, 0.0, np.inf)))
    assert kinds(outcome) == {1: GatewayError, 2: DeadlineExceeded}
    assert outcome.errors[1].code == "INTERNAL"
    assert outcome.failed_together
    found = answers(outcome)
    assert found.keys() == {(0,), (3,)}
    for (place,), logits in found.items():
        expected = in_thread(batch(inputs[place])).runs[0].logits
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    assert processes.lost - lost == 2, "expected one for the batch, and one for the poison alone"


async def test_a_batch_that_one_hangs_on_is_answered_by_another(
    make_processes: MakeProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = make_processes()
    worker = processes.worker()
    run = WorkerProcess.run

    async def hurried(process: WorkerProcess, batch: Batch, _: float) -> Outcome:
        return await run(process, batch, 3.0)

    monkeypatch.setattr(WorkerProcess, "run", hurried)
    children.stop(pid(worker))
    outcome = await worker.run(batch(tensor(), tensor(1)))
    assert ({*answers(outcome)}, outcome.errors) == ({(0,), (1,)}, {})
    assert processes.lost == 1


@pytest.mark.usefixtures("deadly")
async def test_an_input_by_itself_is_tried_once_more(
    processes: WorkerProcesses, worker: ProcessWorker
) -> None:
    lost = processes.lost
    outcome = await worker.run(batch(POISON))
    assert (outcome.runs, kinds(outcome)) == ((), {0: GatewayError})
    assert (processes.lost - lost, outcome.failed_together) == (2, False)
    assert answers(await worker.run(batch(tensor()))).keys() == {(0,)}


async def test_one_that_is_killed_on_a_batch_of_one_costs_nobody_an_answer(
    make_processes: MakeProcesses,
) -> None:
    processes = make_processes()
    worker = processes.worker()
    first = pid(worker)
    children.stop(first)
    running = asyncio.create_task(worker.run(batch(tensor())))
    await asyncio.sleep(0)  # it is handed over
    os.kill(first, signal.SIGKILL)
    outcome = await running
    assert ({*answers(outcome)}, outcome.errors, processes.lost) == ({(0,)}, {}, 1)


async def test_the_process_of_a_batch_that_is_given_up_ends(make_processes: MakeProcesses) -> None:
    """Its answer would be taken for the next batch's."""
    processes = make_processes()
    worker = processes.worker()
    first = pid(worker)
    children.stop(first)
    running = asyncio.create_task(worker.run(batch(tensor())))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with children.watched(first) as ended:
        os.kill(first, signal.SIGCONT)
        assert ended(first)
    another = processes.worker()
    assert answers(await another.run(batch(tensor(), tensor()))).keys() == {(0, 1)}
    assert pids(processes) == {pid(another)}
    assert processes.lost == 0


async def test_all_end_with_the_gateway(make_processes: MakeProcesses) -> None:
    before = children.of_this_process()
    processes = make_processes()
    worker, one_more = processes.worker(), processes.worker()
    assert pids(processes) == {pid(worker), pid(one_more)}
    children.kill(pid(worker))
    await worker.run(batch(tensor()))
    assert children.of_this_process() - before == pids(processes)
    processes.close()
    assert children.of_this_process() <= before
    processes.close()  # again, by whoever comes second


def test_all_end_with_a_gateway_that_is_killed(config: ServerConfig) -> None:
    told = config.model_copy(update={"workers": 2}).model_dump_json()
    with subprocess.Popen(
        [sys.executable, "-c", GATEWAY, told],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    ) as gateway:
        try:
            assert gateway.stdout is not None
            started = [int(word) for word in gateway.stdout.readline().split()]
            assert len(started) == 2
            with children.watched(*started) as ended:
                gateway.kill()
                assert [ended(each) for each in started] == [True, True]
        finally:
            gateway.kill()


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("threads", 2, "threads 2: expected 1 with the engine 'onnxruntime'"),
        ("precision", "bf16", "precision 'bf16': expected 'f32' with the engine 'onnxruntime'"),
    ],
)
def test_an_engine_that_cannot_be_had_is_said_in_one_line_and_leaves_no_process(
    make_processes: MakeProcesses, option: str, value: object, reason: str
) -> None:
    before = children.of_this_process()
    with pytest.raises(ValueError, match="expected") as raised:
        make_processes(workers=2, **{option: value})
    assert str(raised.value) == reason
    assert children.of_this_process() <= before
