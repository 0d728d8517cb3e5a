"""A connection on which nothing happens is kept: clients may ask whether it lives."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc import ChannelConnectivity

from gateway import client_values, server
from gateway.config import ServerConfig

if TYPE_CHECKING:
    from tests.services.conftest import GatewayProcess


def test_grpc_knows_every_option_by_its_name() -> None:
    """It passes over in silence what it does not know."""
    (library,) = (Path(grpc.__file__).parent / "_cython").glob("cygrpc.*so")
    known = library.read_bytes()
    options = [*client_values.CHANNEL_OPTIONS, *server._options(ServerConfig(artifact=Path("net")))]
    assert len(options) > 8
    assert [name for name, _ in options if name.encode() + b"\0" not in known] == []


@pytest.mark.slow  # a minute in which nothing happens
def test_a_client_that_asks_often_is_not_sent_away(gateway: GatewayProcess) -> None:
    options = [
        ("grpc.keepalive_time_ms", 10_500),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    states: list[ChannelConnectivity] = []
    with grpc.insecure_channel(gateway.target, options) as channel:
        channel.subscribe(states.append, try_to_connect=True)
        grpc.channel_ready_future(channel).result(30)
        time.sleep(65)  # a server that minds would end it at the fourth
        assert states[-1] is ChannelConnectivity.READY
        assert states.count(ChannelConnectivity.READY) == 1
