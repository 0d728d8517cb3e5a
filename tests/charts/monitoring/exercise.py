"""Makes a real gateway show everything that its metrics can: what is well, late, full and broken.

Whatever is a rate has to happen while Prometheus looks, and again.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import numpy as np

from gateway.stores import by_url as stores
from protos.compofa.v1 import gateway_pb2, gateway_pb2_grpc
from supernet.latency import LatencyTable, read_bundled_tables
from supernet.manifest import read_manifest
from tests.charts.monitoring.prometheus_server import SCRAPE_S
from tests.redis_server import RedisServer, wait_until

if TYPE_CHECKING:
    from tests.services.conftest import GatewayProcess

OPTIONS = ("--workers", "1", "--max-pending", "8", "--learn-latency", "--learn-interval-s", "0.3",
           "--learn-min-clients", "3", "--learn-min-reports", "2",
           "--learn-trust-client-names")  # fmt: skip
LOST, DAMAGED = "lost-class", "damaged-class"
SEEN_S = 3 * SCRAPE_S  # after which Prometheus has looked, whenever that began
WITHIN_S = 120.0
BUILT_WITHIN_S = 300.0
FULL_ROWS = 32


class Exercise:
    """What is done to one gateway, which `OPTIONS` and the store of `redis` have been given to."""

    def __init__(self, gateway: GatewayProcess, redis: RedisServer, artifact: Path) -> None:
        self._gateway, self._redis = gateway, redis
        self._manifest = read_manifest(artifact)
        self._tables = read_bundled_tables(artifact)
        channel = grpc.insecure_channel(gateway.target, [("grpc.max_send_message_length", -1)])
        self._channel = channel
        self._stub = gateway_pb2_grpc.SubnetGatewayStub(channel)
        self._random = random.Random(0)

    def run(self) -> None:
        """All of it. Raises `AssertionError` where something does not come about in time."""
        with (
            self._channel,
            self._steadily(self._answer),
            self._steadily(self._fetch),
            self._steadily(self._report),
        ):
            for table in (LOST, DAMAGED):
                self._put(self._tables[0].scaled(1.0, table, 1000.0))
            for _ in range(2):
                self._mistakes()
                self._overload()
                time.sleep(SEEN_S)
            self._damage()
            self._lose_the_store()
            self._await("compofa_latency_tables_learned_total")
            self._await("compofa_fetches_total", BUILT_WITHIN_S, code="OK")
            time.sleep(SEEN_S)

    @contextmanager
    def _steadily(self, act: Callable[[], None]) -> Iterator[None]:
        """Do something again and again beside the rest."""
        stop = threading.Event()

        def keep_on() -> None:
            while not stop.is_set():
                act()

        thread = threading.Thread(target=keep_on)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _answer(self) -> None:
        """One image for some device class and budget, alone in its batch."""
        table = self._random.choice(self._tables)
        budget = self._random.choice(list(table.latency_ms.values()))
        self._ask(self._infer(table.device_class, latency_budget_ms=budget))
        time.sleep(0.02)

    def _fetch(self) -> None:
        """A subnet as a file; only the first has to be built."""
        request = gateway_pb2.FetchSubnetRequest(
            device_class=self._tables[0].device_class, format="torch", min_accuracy=0.0
        )
        with suppress(grpc.RpcError):  # the gateway counts it
            for _ in self._stub.FetchSubnet(request, timeout=BUILT_WITHIN_S):
                pass
        time.sleep(SCRAPE_S)

    def _mistakes(self) -> None:
        """What callers get wrong."""
        self._ask(self._infer("made-up"))
        self._ask(self._infer(self._tables[0].device_class, latency_budget_ms=-1.0))

    def _report(self) -> None:
        """Three clients say that the first class is half as fast again; one talks nonsense."""
        table = self._tables[0]
        said = itertools.product("abc", table.latency_ms.items(), range(2))
        reports = [
            gateway_pb2.ReportLatencyRequest(
                device_class=table.device_class, subnet=subnet, latency_ms=1.5 * ms, client=client
            )
            for client, (subnet, ms), _ in said
        ]
        nonsense = gateway_pb2.ReportLatencyRequest(
            device_class=table.device_class, subnet="none", latency_ms=1.0, client="d"
        )
        self._stub.ReportLatency(iter([*reports, nonsense]), timeout=WITHIN_S)
        time.sleep(SCRAPE_S)

    def _overload(self) -> None:
        """More than the queue holds, and more than can be done in time by the best subnet.

        How fast that is depends on the machine, so all deadlines are tried until all has happened.
        """
        names = ("compofa_shed_total", "compofa_deadlines_missed_total", "compofa_degraded_total")
        before = {name: self._gateway.metric(name) for name in names}
        until = time.monotonic() + WITHIN_S
        for deadline_ms in itertools.cycle(np.geomspace(0.5, 4000.0, 18)):
            for waiting in (4, 24):
                self._burst(waiting, float(deadline_ms))
            missing = [name for name in names if self._gateway.metric(name) == before[name]]
            if not missing:
                return
            assert time.monotonic() < until, f"the gateway was never overloaded: {missing}"

    def _burst(self, waiting: int, deadline_ms: float) -> None:
        name = self._tables[0].device_class
        request = self._infer(name, rows=FULL_ROWS, deadline_ms=deadline_ms)
        asked = [self._stub.Infer.future(request, timeout=WITHIN_S) for _ in range(waiting)]
        for call in asked:
            call.exception()

    def _damage(self) -> None:
        """A table that cannot be read, written past the store's own code."""
        (key,) = {
            key.decode().removesuffix(":current") for key in self._redis.ask("KEYS", "*:current")
        }
        self._redis.ask("HSET", f"{key}:current", DAMAGED, f"1 {'0' * 64}")
        self._redis.ask("PUBLISH", f"{key}:changed", DAMAGED)
        self._await("compofa_latency_table_refused", device_class=DAMAGED)
        time.sleep(SEEN_S)

    def _lose_the_store(self) -> None:
        """It is away, and comes back without what it kept."""
        self._redis.kill()
        wait_until(lambda: self._gateway.metric("compofa_store_up") == 0, WITHIN_S)
        time.sleep(SEEN_S)
        self._redis.forget()
        self._redis.start()
        self._await("compofa_latency_table_lost", device_class=LOST)
        time.sleep(SEEN_S)

    def _put(self, table: LatencyTable) -> None:
        table = table.model_copy(update={"artifact_hash": self._manifest.artifact_hash})
        stores.ask(self._redis.url, lambda store: store.put(table))

    def _await(self, metric: str, within_s: float = WITHIN_S, **labels: str) -> None:
        wait_until(lambda: self._gateway.metric(metric, **labels) > 0, within_s)

    def _ask(self, request: gateway_pb2.InferRequest) -> None:
        """Whatever it is answered with: the metrics have it."""
        self._stub.Infer.future(request, timeout=WITHIN_S).exception()

    def _infer(self, device_class: str, rows: int = 1, **fields: float) -> gateway_pb2.InferRequest:
        space = self._manifest.design_space
        shape = (rows, *space.skeleton.inputs.shape(max(space.resolutions)))
        raw = np.zeros(shape, "<f4").tobytes()
        tensor = gateway_pb2.Tensor(name="input", dtype="FP32", shape=shape, raw=raw)
        return gateway_pb2.InferRequest(
            device_class=device_class,
            tensor=tensor,
            **fields,  # type: ignore[arg-type]
        )
