"""Everything a configuration names, put together: net, workers, device classes, pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.config import ServerConfig
from gateway.device_classes import DeviceClasses
from gateway.engine_opening import scheduling_limits
from gateway.engines.net import Net
from gateway.pipeline import Pipeline, Watch
from gateway.stores.by_url import read_device_classes
from gateway.workers.team import team_of


@contextmanager
def open_pipeline(config: ServerConfig) -> Iterator[Pipeline]:
    """A pipeline with the device classes there are now. Raises `ValueError` in one line. Not
    within an event loop."""
    net = Net(config.artifact)
    classes = read_device_classes(
        config.artifact, net.manifest, config.store, fallback=config.fallback_device_class
    )
    with running_pipeline(config, net, classes) as pipeline:
        yield pipeline


@contextmanager
def running_pipeline(
    config: ServerConfig, net: Net, classes: DeviceClasses, watch: Watch | None = None
) -> Iterator[Pipeline]:
    """A pipeline as `config` wants it. It can answer at once; what runs most is compiled whole
    beside it. Raises `ValueError` where the engine cannot be had."""
    with team_of(config, net) as team:
        yield Pipeline(
            net.manifest,
            classes,
            team.engine,
            team.costs,
            team.worker,
            max_batch=config.max_batch,
            max_pending=config.max_pending,
            num_workers=scheduling_limits(team.config, team.engine).workers,
            watch=watch,
        )
