"""The disk fills up under a gateway, and has room again: requests are answered all the while.

On a small tmpfs in a mount namespace of its own lie the embedded store, the export cache, the cache
of what was compiled, and the log.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from benchmarks.chaos.load import (
    ARTIFACT,
    REFERENCE,
    answers_of,
)
from benchmarks.chaos.outcome import Outcome
from gateway.client import CallError, Client
from supernet.latency import LatencyTable, read_bundled_tables
from tests.services.conftest import GatewayProcess, running

SIZE = "96m"
ANSWERS = 300
LEARNED_WITHIN_S = 20.0
OPTIONS = ("--learn-latency", "--learn-interval-s", "0.3", "--learn-min-clients", "3",
           "--learn-min-reports", "1", "--learn-trust-client-names")  # fmt: skip
UNSHARE = ("unshare", "--user", "--map-root-user", "--mount")


def run(folder: Path) -> Iterator[Outcome]:
    """In a process of its own, for a mount namespace belongs to one."""
    if shutil.which("unshare") is None or subprocess.run([*UNSHARE, "true"]).returncode:
        yield Outcome.skipped("the disk fills up", "unshare is not there, or may not mount")
        return
    command = [*UNSHARE, sys.executable, "-m", "benchmarks.chaos.disk_full", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                yield Outcome(**json.loads(line))
        finally:
            process.terminate()  # it ends what it has started
    if process.returncode:
        raise RuntimeError(f"exit status {process.returncode}")


def _on(disk: Path, folder: Path) -> Iterator[Outcome]:
    place = disk / "gateway"
    place.mkdir()
    with running(
        ARTIFACT, place, "--export-cache", str(disk / "exports"), *OPTIONS, within_s=120
    ) as gateway:
        yield from _while_full(gateway, disk)
        yield from _with_room_again(gateway, disk)
    with full(disk):
        yield _started(disk, folder)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Not a byte is left within."""
    filler = disk / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass
        yield
    finally:
        filler.unlink(missing_ok=True)


def _while_full(gateway: GatewayProcess, disk: Path) -> Iterator[Outcome]:
    with full(disk), Client(gateway.target, REFERENCE) as client:
        before = gateway.stderr.stat().st_size
        load = asyncio.run(answers_of(gateway.target, ANSWERS))
        written = gateway.stderr.stat().st_size - before
        yield Outcome(
            "full disk: requests, and a log line for each",
            f"{load.in_words}; {written:,} bytes of log written",
            not load.failures and written < 4096,
        )
        yield _fetched(client, disk, "full disk: FetchSubnet", "FAILED_PRECONDITION")
        yield _imported(gateway, disk)
        _report(client)
        time.sleep(2)
        version = _version(client)
        yield Outcome(
            "full disk: learned latencies", f"serves on by version {version}", version == 0
        )


def _with_room_again(gateway: GatewayProcess, disk: Path) -> Iterator[Outcome]:
    with Client(gateway.target, REFERENCE) as client:
        before = gateway.stderr.stat().st_size
        load = asyncio.run(answers_of(gateway.target, ANSWERS))
        written = gateway.stderr.stat().st_size - before
        happened = f"{load.in_words}; {written:,} bytes of log written"
        yield Outcome(
            "room again: requests", happened, not load.failures and written > ANSWERS * 100
        )
        yield _fetched(client, disk, "room again: FetchSubnet", "OK")
        began = time.monotonic()
        while (version := _version(client)) == 0 and time.monotonic() - began < LEARNED_WITHIN_S:
            _report(client)
            time.sleep(0.5)
        yield Outcome("room again: learned latencies", f"serves by version {version}", version > 0)
        tracebacks = gateway.stderr.read_text("utf-8").count("Traceback")
        yield Outcome("what the log says", f"{tracebacks} tracebacks", tracebacks == 0)


def _started(disk: Path, folder: Path) -> Outcome:
    """Another gateway, which can keep nothing of what it compiles."""
    place = folder / "second"
    place.mkdir()
    own = {"COMPOFA_STATE_DIR": str(disk / "state"), "XDG_CACHE_HOME": str(disk / "cache")}
    with running(ARTIFACT, place, environment=own, within_s=120) as gateway:
        load = asyncio.run(answers_of(gateway.target, ANSWERS))
    return Outcome("a gateway starts on a full disk", load.in_words, not load.failures)


def _fetched(client: Client, disk: Path, tried: str, expected: str) -> Outcome:
    out = disk.parent / "fetched.pt2"
    try:
        fetched = client.fetch(out, format="torch", deadline_s=300)
    except CallError as error:
        return Outcome(tried, str(error).partition(": ")[2], error.code == expected)
    return Outcome(tried, f"{fetched.subnet}, {out.stat().st_size:,} bytes", expected == "OK")


def _imported(gateway: GatewayProcess, disk: Path) -> Outcome:
    """The command `tables import`, into the gateway's own store."""
    table = ARTIFACT / "tables" / "reference-cpu.json"
    command = [sys.executable, "-m", "gateway", "tables", "import", str(table), "--format", "json"]
    command += ["--artifact", str(ARTIFACT), "--device-class", "other"]
    own = {"COMPOFA_STATE_DIR": str(gateway.stderr.parent / "state")}
    done = subprocess.run(command, env=os.environ | own, capture_output=True, text=True)
    one_line = done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    said = done.stderr.strip().replace(str(disk), "DISK")
    holds = done.returncode == 1 and one_line
    return Outcome("full disk: tables import", f"exit {done.returncode}: {said[-200:]}", holds)


def _table() -> LatencyTable:
    tables = read_bundled_tables(ARTIFACT)
    return next(table for table in tables if table.device_class == REFERENCE.device_class)


def _report(client: Client) -> None:
    """Three clients say that everything takes a fifth longer."""
    for name in "abc":
        measured = [(subnet, 1.2 * ms) for subnet, ms in list(_table().latency_ms.items())[:60]]
        client.report_latency(REFERENCE.device_class, measured, client=name)


def _version(client: Client) -> int:
    known = {each.name: each.table_version for each in client.device_classes()}
    return int(known[REFERENCE.device_class])


def main() -> None:
    """Within the namespace: print outcomes as they come."""
    folder = Path(sys.argv[1])
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", disk], check=True)
    for outcome in _on(disk, folder):
        print(json.dumps(asdict(outcome)), flush=True)


if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    main()
