"""Which gateways run batches in processes, and that either kind answers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from gateway.config import ServerConfig
from gateway.engines.engine import Engine
from gateway.engines.net import Net
from gateway.workers.processes import ProcessWorker, WorkerProcesses
from gateway.workers.team import team_of
from gateway.workers.thread_worker import ThreadWorker
from supernet import artifact
from supernet.design_space import DesignSpace
from supernet.model import Supernet
from supernet.normalization import SharedStatistics
from supernet.normalization_shapes import normalization_shapes
from tests.full_disk import files_at_most
from tests.gateway.workers import children
from tests.gateway.workers.batches import batch, tensor

WHY = "processes: expected a folded net, a CPU, and the engine onnxruntime or openvino"


@pytest.fixture
def torch_config(artifact_folder: Path) -> ServerConfig:
    return ServerConfig(artifact=artifact_folder, engine="torch", device="cpu", workers=1)


@pytest.fixture(scope="module")
def unfolded(
    space: DesignSpace,
    description: artifact.Description,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("artifacts") / "unfolded"
    statistics = SharedStatistics()
    shapes = normalization_shapes("shared-statistics", space, space.enumerate())
    statistics.load({name: torch.ones(shape) for name, shape in shapes.items()})
    artifact.save(folder, Supernet(space, statistics), description)
    return folder


@pytest.mark.parametrize("processes", [None, True])
async def test_a_folded_net_on_a_cpu_runs_in_processes(
    config: ServerConfig, processes: bool | None
) -> None:
    pytest.importorskip("onnxruntime")
    wanted = config.model_copy(update={"processes": processes})
    with team_of(wanted, Net(config.artifact)) as team:
        assert isinstance(team.engine, WorkerProcesses)
        worker = team.worker()
        assert isinstance(worker, ProcessWorker)
        assert worker._process.pid != os.getpid()
        outcome = await worker.run(batch(tensor(), tensor()))
        assert [run.places for run in outcome.runs] == [(0, 1)]
        assert (team.config.threads, team.config.workers) == (1, 1)
        with children.watched(worker._process.pid) as ended:
            team.engine.close()
            assert ended(worker._process.pid)


async def test_none_are_started_where_none_are_wanted(config: ServerConfig) -> None:
    pytest.importorskip("onnxruntime")
    before = children.of_this_process()
    wanted = config.model_copy(update={"processes": False})
    with team_of(wanted, Net(config.artifact)) as team:
        assert isinstance(team.engine, Engine)
        worker = team.worker()
        assert isinstance(worker, ThreadWorker)
        assert (await worker.run(batch(tensor()))).errors == {}
        assert children.of_this_process() <= before
    with pytest.raises(RuntimeError, match="after shutdown"):
        await worker.run(batch(tensor()))


async def test_torch_runs_in_threads(torch_config: ServerConfig) -> None:
    with team_of(torch_config, Net(torch_config.artifact)) as team:
        assert isinstance(team.engine, Engine)
        assert team.engine.name == "torch"
        assert (await team.worker().run(batch(tensor(), tensor()))).errors == {}
        assert team.config.threads


async def test_a_net_that_is_not_folded_runs_in_threads(
    config: ServerConfig, unfolded: Path
) -> None:
    pytest.importorskip("onnxruntime")
    wanted = config.model_copy(update={"artifact": unfolded})
    with team_of(wanted, Net(unfolded)) as team:
        assert isinstance(team.engine, Engine)
        assert team.engine.name == "onnxruntime"
        assert (await team.worker().run(batch(tensor()))).errors == {}


@pytest.mark.parametrize("option", [{"engine": "torch"}, {"engine": "auto", "device": "cuda"}])
def test_processes_that_cannot_be_had_are_said(
    torch_config: ServerConfig, option: dict[str, str]
) -> None:
    wanted = torch_config.model_copy(update={"processes": True, **option})
    with pytest.raises(ValueError, match=f"^{WHY}$"), team_of(wanted, Net(wanted.artifact)):
        pass


def test_processes_of_a_net_that_is_not_folded_are_said(
    torch_config: ServerConfig, unfolded: Path
) -> None:
    update = {"processes": True, "engine": "onnxruntime", "artifact": unfolded}
    wanted = torch_config.model_copy(update=update)
    with pytest.raises(ValueError, match=f"^{WHY}$"), team_of(wanted, Net(unfolded)):
        pass


async def test_workers_are_threads_where_nothing_compiled_can_be_kept(
    config: ServerConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "file").write_text("")
    wanted = config.model_copy(update={"compile_cache": tmp_path / "file"})
    with team_of(wanted, Net(wanted.artifact)) as team:
        assert isinstance(team.engine, Engine)
        assert (await team.worker().run(batch(tensor()))).errors == {}
    assert "workers are threads" in caplog.text


async def test_workers_are_threads_where_the_disk_of_the_cache_is_full(
    config: ServerConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("onnxruntime")
    before = children.of_this_process()
    wanted = config.model_copy(update={"compile_cache": tmp_path})
    with files_at_most(1000), team_of(wanted, Net(wanted.artifact)) as team:
        assert isinstance(team.engine, Engine)
        assert (await team.worker().run(batch(tensor()))).errors == {}
        assert children.of_this_process() <= before
    assert "the compile cache keeps nothing; workers are threads" in caplog.text
