"""Subnets compiled in a process of their own: what it leaves, what it says, and its end."""

import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("openvino")

import numpy as np

from gateway.compiling import CompileAside
from gateway.config import ServerConfig
from gateway.engine_opening import opened_backend, opened_engine, settled
from gateway.engines.net import Net
from supernet.architecture import Architecture


@pytest.fixture
def config(artifact_folder: Path, tmp_path: Path) -> ServerConfig:
    given = ServerConfig(artifact=artifact_folder, workers=1, compile_cache=tmp_path)
    return settled(given, Net(artifact_folder))


def largest(net: Net) -> Architecture:
    return net.manifest.design_space.largest


def test_a_gateway_that_has_not_loaded_the_net_compiles_without_loading_it(
    config: ServerConfig,
) -> None:
    opened_engine(config, Net(config.artifact))  # leaves the segments
    net = Net(config.artifact)
    engine, _ = opened_engine(config, net, CompileAside(config, net.manifest.artifact_hash))
    arch, lane = largest(net), engine.lane()
    x = np.random.default_rng(0).normal(size=(1, 1, arch.resolution, arch.resolution))
    chained = lane.run(arch, x.astype(np.float32))
    engine.whole.obtain(arch)
    whole = lane.run(arch, x.astype(np.float32))
    assert (chained.way, whole.way, net.is_loaded) == ("chain", "whole", False)
    np.testing.assert_allclose(chained.logits, whole.logits, rtol=1e-4, atol=1e-4)


def test_another_net_in_the_folder_is_not_compiled(config: ServerConfig) -> None:
    net = Net(config.artifact)
    with pytest.raises(RuntimeError, match="no longer the net that is served"):
        CompileAside(config, "0" * 32)(largest(net))
    cache = opened_backend(config, net).cache
    assert cache is not None
    assert cache.read(largest(net).id) is None


def test_its_end_does_not_wait_for_what_is_under_way(config: ServerConfig) -> None:
    net = Net(config.artifact)
    said: list[str]
    aside, said = CompileAside(config, net.manifest.artifact_hash), []

    def compiled() -> None:
        try:
            aside(largest(net))
        except RuntimeError as error:
            said.append(str(error))

    thread = threading.Thread(target=compiled)
    thread.start()
    while aside._process is None:
        time.sleep(0.001)
    began = time.monotonic()
    aside.close()
    thread.join()
    assert time.monotonic() - began < 5
    assert said == ["exit status -9"]
    with pytest.raises(RuntimeError, match="the gateway ends"):
        aside(largest(net))


def test_nothing_secret_is_in_what_it_is_told(config: ServerConfig) -> None:
    secret = config.model_copy(update={"store": "redis://:sesame@host"})
    assert "sesame" not in CompileAside(secret, "0" * 32)._told
