"""100,000 malformed messages to every method, and connections that speak no HTTP/2 at all."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import grpc
from google.protobuf.descriptor import MethodDescriptor
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from benchmarks.chaos.connections import PREFACE, SETTINGS
from benchmarks.chaos.descriptors import descriptors, until_closed
from benchmarks.chaos.load import ARTIFACT, REFERENCE, candidates, images
from benchmarks.chaos.outcome import Outcome
from gateway.client import Client
from gateway.exports.key import SUFFIXES
from supernet.manifest import read_manifest
from tests.services.conftest import GatewayProcess, running
from tests.services.fetching import fill
from tests.services.fuzzing import Fuzzed, Fuzzer, faults
from tests.services.malformed import Served, messages, methods

MESSAGES = 100_000
AT_ONCE = 20
WARM_UP = 4_000  # messages that fill caches and the allocator's pools
GARBAGE = 2_000
MOST_GROWN_MIB = 32
MIB = 2**20
SHOWN = 3
OPTIONS = ("--learn-latency", "--no-request-logs")


def run(folder: Path) -> Iterator[Outcome]:
    cache = folder / "exports"
    _fill(cache)
    with running(ARTIFACT, folder, "--export-cache", str(cache), *OPTIONS, within_s=120) as gateway:
        gateway.until_warm()
        _fuzz(gateway, WARM_UP)
        before, open_before = gateway.resident_bytes(), descriptors(gateway)
        fuzzed = _fuzz(gateway, MESSAGES)
        codes = ", ".join(f"{count:,} {code}" for code, count in fuzzed.codes.most_common())
        yield Outcome(
            f"{fuzzed.messages:,} messages to {len(methods())} methods",
            f"{fuzzed.read:,} read; {codes}; {len(fuzzed.wrong)} wrong"
            + "".join(map(_shown, fuzzed.wrong[:SHOWN])),
            not fuzzed.wrong and fuzzed.read == fuzzed.messages,
        )
        _garbage(gateway)
        yield _outcome(gateway, f"{GARBAGE:,} connections of other bytes")
        left = until_closed(gateway, open_before)
        grown = (gateway.resident_bytes() - before) / MIB
        yield Outcome(
            "what is left of both",
            f"{grown:.1f} MiB of memory and {left} descriptors more than before",
            grown < MOST_GROWN_MIB and left <= 2,
        )
        said = faults(gateway)
        happened = f"{len(said)} lines of errors" + "".join(f"; {line[:300]}" for line in said[:2])
        yield Outcome("what the log says of it", happened, not said)


def served() -> Served:
    """What good requests name."""
    return Served(read_manifest(ARTIFACT).name, REFERENCE.device_class, (1, 28, 28))


def _fill(cache: Path) -> None:
    """Whatever may be asked for is there, so that nothing is built."""
    for candidate in candidates().frontier:
        for format_name in SUFFIXES:
            fill(ARTIFACT, cache, format_name, {"net": bytes(1000)}, candidate.subnet)


def _fuzz(gateway: GatewayProcess, count: int) -> Fuzzed:
    """So many messages, spread over all methods."""
    with grpc.insecure_channel(gateway.target, [("grpc.enable_retries", 0)]) as channel:
        fuzzer = Fuzzer(channel)
        known = methods()
        for place, method in enumerate(known):
            until = count * (place + 1) // len(known)
            _fuzz_method(fuzzer, method, until)
    return fuzzer.fuzzed


def _fuzz_method(fuzzer: Fuzzer, method: MethodDescriptor, until: int) -> None:
    """Send messages of one method until so many have been sent in all."""
    examples = max(1, (until - fuzzer.fuzzed.messages) // AT_ONCE)
    one = messages(method, served())

    @seed(until)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(one, min_size=AT_ONCE, max_size=AT_ONCE))
    def sent(together: list[bytes]) -> None:
        fuzzer.send(method, together)

    sent()


def _garbage(gateway: GatewayProcess) -> None:
    rng = random.Random(0)
    for _ in range(GARBAGE):
        begin = rng.choice([b"", PREFACE, PREFACE + SETTINGS])
        with suppress(OSError), socket.create_connection(("127.0.0.1", gateway.port), 10) as peer:
            peer.sendall(begin + rng.randbytes(rng.randrange(1, 200)))


def _outcome(gateway: GatewayProcess, tried: str) -> Outcome:
    """Whether it is there, and answers."""
    with Client(gateway.target, REFERENCE) as client:
        subnet = client.infer(images()[0].given).subnet
    alive = gateway.process.poll() is None
    return Outcome(tried, f"a good request is answered by {subnet}", alive)


def _shown(wrong: tuple[str, str, Sequence[bytes]]) -> str:
    code, path, call = wrong
    return f"; {code} {path} {call[0][:60]!r}"
