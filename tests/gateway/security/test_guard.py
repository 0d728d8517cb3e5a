"""Callers, their rights and rates, TLS and its files: over the wire, against real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from prometheus_client import CollectorRegistry

from gateway.security import access
from gateway.security.config import SecurityConfig
from gateway.security.guard import Guard
from gateway.security.identities import line_of
from gateway.security.tokens import new_token
from protos.compofa.v1 import gateway_pb2, gateway_pb2_grpc
from supernet.commandline import UsageError
from tests.certificates import EXPIRED, Authority, Pair
from tests.gateway.following import until

if TYPE_CHECKING:
    from tests.gateway.following import until
from tests.gateway.security.conftest import Guarded, Tokens

Code = grpc.StatusCode
NONE: tuple[Any, ...] = ()  # of a stream that is refused: gRPC's client fails at times as it writes


@pytest.fixture
def guarded() -> Any:
    from tests.gateway.security import conftest

    return conftest.guarded


def bearer(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


def trusting(authority: Authority, own: Pair | None = None) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        authority.ca.read_bytes(),
        None if own is None else own.key.read_bytes(),
        None if own is None else own.cert.read_bytes(),
    )


async def select(channel: grpc.aio.Channel, metadata: Any = ()) -> str:
    stub = gateway_pb2_grpc.SubnetGatewayStub(channel)
    request = gateway_pb2.SelectSubnetRequest()
    return (await stub.SelectSubnet(request, timeout=10, metadata=metadata)).subnet


async def refused(channel: grpc.aio.Channel, metadata: Any = ()) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await select(channel, metadata)
    return caught.value


async def code_of(call: Any) -> grpc.StatusCode:
    """What a call ends in, whatever it is."""
    try:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return Code.OK


async def test_a_call_needs_a_token_that_is_known(guarded: Any, tokens: Tokens) -> None:
    async with guarded(tokens=tokens.file) as server, server.channel() as channel:
        assert await select(channel, bearer(tokens.of["infers"])) == "infers"
        scheme = [("authorization", f"bEARER {tokens.of['infers']}")]
        assert await select(channel, scheme) == "infers"
        for wrong in (
            (),
            [("authorization", "")],
            [("authorization", tokens.of["infers"])],
            [("authorization", f"Basic {tokens.of['infers']}")],
            [("authorization-bin", b"Bearer")],
            bearer(""),
            bearer(new_token("infers")),
            bearer(tokens.of["infers"] + "x"),
            bearer(tokens.of["infers"]) * 2,
        ):
            error = await refused(channel, wrong)
            assert error.code() == Code.UNAUTHENTICATED
            assert "compofa_" not in (error.details() or "")
        assert {(call.code, call.identity) for call in server.seen} == {
            ("OK", "infers"),
            ("UNAUTHENTICATED", ""),
        }


@pytest.mark.parametrize(
    ("who", "may"),
    [
        ("all", {"SelectSubnet", "InferStream", "FetchSubnet", "ReportLatency"}),
        ("infers", {"SelectSubnet", "InferStream"}),
        ("fetches", {"FetchSubnet"}),
        ("reports", {"ReportLatency"}),
    ],
)
async def test_each_method_takes_its_right(
    guarded: Any, tokens: Tokens, who: str, may: set[str]
) -> None:
    async with guarded(tokens=tokens.file) as server, server.channel() as channel:
        stub = gateway_pb2_grpc.SubnetGatewayStub(channel)
        shown = {"timeout": 10, "metadata": bearer(tokens.of[who])}
        calls: dict[str, Any] = {
            "SelectSubnet": stub.SelectSubnet(gateway_pb2.SelectSubnetRequest(), **shown),
            "InferStream": stub.InferStream(NONE, **shown),
            "FetchSubnet": stub.FetchSubnet(gateway_pb2.FetchSubnetRequest(), **shown),
            "ReportLatency": stub.ReportLatency(NONE, **shown),
        }
        codes = {name: await code_of(call) for name, call in calls.items()}
        assert codes == {name: Code.OK if name in may else Code.PERMISSION_DENIED for name in calls}


async def test_who_lacks_a_right_is_told_what_there_is(guarded: Any, tokens: Tokens) -> None:
    async with guarded(tokens=tokens.file) as server, server.channel() as channel:
        error = await refused(channel, bearer(tokens.of["fetches"]))
        assert error.details() == "'fetches' may not infer; it may fetch"


async def test_a_stream_s_messages_know_who_sent_them(guarded: Any, tokens: Tokens) -> None:
    async with guarded(tokens=tokens.file) as server, server.channel() as channel:
        stub = gateway_pb2_grpc.SubnetGatewayStub(channel)
        requests = [gateway_pb2.InferRequest(id=str(n)) for n in range(3)]
        stream = stub.InferStream(iter(requests), metadata=bearer(tokens.of["all"]))
        assert [response.subnet async for response in stream] == ["all"] * 3


async def test_a_stranger_s_message_is_not_read(guarded: Any, tokens: Tokens) -> None:
    """As much as flow control lets pass without anybody reading, and no more."""
    async with guarded(tokens=tokens.file) as server, server.channel() as channel:
        stub = gateway_pb2_grpc.SubnetGatewayStub(channel)
        written = 0

        async def endless() -> AsyncIterator[gateway_pb2.InferRequest]:
            nonlocal written
            while written < 10_000:
                written += 1
                yield gateway_pb2.InferRequest(image=bytes(50_000))

        # What the client makes of it differs: gRPC's own, in asyncio, trips over its next write.
        assert await code_of(stub.InferStream(endless(), timeout=20)) != Code.OK
        assert written < 1000
        large = gateway_pb2.InferRequest(image=bytes(3_000_000))  # above what may be parsed, too
        assert await code_of(stub.Infer(large, timeout=20)) == Code.UNAUTHENTICATED
        # A call is observed once its answer is on the way.
        await until(lambda: [call.code for call in server.seen] == ["UNAUTHENTICATED"] * 2, 10)


async def test_health_is_for_everybody_and_reflection_for_who_is_known(
    guarded: Any, tokens: Tokens
) -> None:
    async with guarded(tokens=tokens.file) as server, server.channel() as channel:
        probe: Any = health_pb2_grpc.HealthStub(channel)
        answer = await probe.Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
        refused = stub.ServerReflectionInfo(iter(asked), timeout=10)
        assert await code_of(refused) == Code.UNAUTHENTICATED
        known = bearer(tokens.of["reports"])
        (listed,) = [r async for r in stub.ServerReflectionInfo(iter(asked), metadata=known)]
        assert len(listed.list_services_response.service) == 2


async def test_a_method_that_is_not_there_is_unimplemented(guarded: Any, tokens: Tokens) -> None:
    async with guarded(tokens=tokens.file) as server, server.channel() as channel:
        call = channel.unary_unary("/compofa.v1.SubnetGateway/Nonsense")
        assert await code_of(call(b"")) == Code.UNIMPLEMENTED


async def test_a_token_that_is_taken_out_of_the_file_opens_nothing_any_more(
    guarded: Any, tokens: Tokens
) -> None:
    fresh = new_token("fresh")
    async with guarded(tokens=tokens.file) as server, server.channel() as channel:
        assert await select(channel, bearer(tokens.of["infers"])) == "infers"
        tokens.file.write_text(line_of("fresh", fresh, ["infer"]) + "\n")
        async with asyncio.timeout(10):
            while await code_of(select(channel, bearer(fresh))) != Code.OK:
                await asyncio.sleep(0.05)
        error = await refused(channel, bearer(tokens.of["infers"]))
        assert error.code() == Code.UNAUTHENTICATED
        tokens.file.write_text("nonsense\n")
        await asyncio.sleep(1.5)
        assert await select(channel, bearer(fresh)) == "fresh"


async def test_a_certificate_says_who_calls(
    guarded: Any, authority: Authority, tokens: Tokens
) -> None:
    own = authority.issue("localhost")
    files = {"tls_cert": own.cert, "tls_key": own.key, "tls_client_ca": authority.ca}
    async with guarded(**files, tokens=tokens.file) as server:
        for pair, name, fetch in (
            (authority.issue("device-7.local", common_name="seven"), "device-7.local",
             Code.PERMISSION_DENIED),
            (authority.issue("nobody.local", "boss.local"), "boss.local", Code.OK),
            (authority.issue(common_name="boss.local"), "boss.local", Code.OK),
            (authority.issue(common_name="Some Body"), "Some Body", Code.PERMISSION_DENIED),
        ):  # fmt: skip
            async with server.channel(trusting(authority, pair)) as channel:
                assert await select(channel) == name
                stub = gateway_pb2_grpc.SubnetGatewayStub(channel)
                asked = stub.FetchSubnet(gateway_pb2.FetchSubnetRequest(), timeout=10)
                assert await code_of(asked) == fetch
                # A token says more than a certificate, and a wrong one is no certificate.
                assert await select(channel, bearer(tokens.of["infers"])) == "infers"
                error = await refused(channel, bearer(new_token("infers")))
                assert error.code() == Code.UNAUTHENTICATED


async def test_without_a_file_any_certificate_infers(guarded: Any, authority: Authority) -> None:
    own = authority.issue("localhost")
    files = {"tls_cert": own.cert, "tls_key": own.key, "tls_client_ca": authority.ca}
    client = trusting(authority, authority.issue("device-7.local"))
    async with guarded(**files) as server, server.channel(client) as channel:
        assert await select(channel) == "device-7.local"
        stub = gateway_pb2_grpc.SubnetGatewayStub(channel)
        asked = stub.FetchSubnet(gateway_pb2.FetchSubnetRequest(), timeout=10)
        assert await code_of(asked) == Code.PERMISSION_DENIED


async def test_who_has_no_certificate_or_a_wrong_one_does_not_connect(
    guarded: Any, authority: Authority, tmp_path: Path
) -> None:
    own, other = authority.issue("localhost"), Authority(tmp_path / "other")
    files = {"tls_cert": own.cert, "tls_key": own.key, "tls_client_ca": authority.ca}
    async with guarded(**files) as server:
        for credentials in (
            trusting(authority),
            trusting(authority, other.issue("device-7.local")),
            trusting(authority, authority.issue("late.local", not_after=EXPIRED)),
            trusting(other, authority.issue("device-8.local")),
            None,
        ):
            async with server.channel(credentials) as channel:
                assert (await refused(channel)).code() == Code.UNAVAILABLE
        async with server.channel(trusting(authority, authority.issue("a.local"))) as channel:
            assert await select(channel) == "a.local"
        assert [call.code for call in server.seen] == ["OK"]


async def test_clients_refuse_a_gateway_whose_certificate_is_over(
    guarded: Any, authority: Authority
) -> None:
    own = authority.issue("localhost", not_after=EXPIRED)
    async with (
        guarded(tls_cert=own.cert, tls_key=own.key) as server,
        server.channel(trusting(authority)) as channel,
    ):
        assert (await refused(channel)).code() == Code.UNAVAILABLE


async def test_a_new_certificate_is_served_by_and_no_call_fails(
    guarded: Any, authority: Authority, tmp_path: Path
) -> None:
    """Clients that trust the old authority and the new one connect and call all the while; then
    the old one is no longer served by."""
    own, other = authority.issue("localhost"), Authority(tmp_path / "other")
    both = grpc.ssl_channel_credentials(authority.ca.read_bytes() + other.ca.read_bytes())
    async with guarded(tls_cert=own.cert, tls_key=own.key) as server:
        stop, codes = asyncio.Event(), list[grpc.StatusCode]()

        async def keep_connecting() -> None:
            while not stop.is_set():
                async with server.channel(both) as channel:
                    codes.extend([await code_of(select(channel)) for _ in range(3)])

        load = [asyncio.create_task(keep_connecting()) for _ in range(3)]
        async with server.channel(both) as kept:
            await select(kept)
            for authority_now in (other, authority, other):
                authority_now.issue("localhost", into=own)
                await _until_trusted(server, authority_now)
            await select(kept)
        stop.set()
        await asyncio.gather(*load)
        assert set(codes) == {Code.OK}
        assert len(codes) > 20
        async with server.channel(trusting(authority)) as channel:
            assert (await refused(channel)).code() == Code.UNAVAILABLE


async def _until_trusted(server: Guarded, authority: Authority) -> None:
    async with asyncio.timeout(20):
        while True:
            async with server.channel(trusting(authority)) as channel:
                if await code_of(select(channel)) == Code.OK:
                    return
            await asyncio.sleep(0.1)


async def test_who_calls_too_fast_is_told_when_to_come_back(guarded: Any, tokens: Tokens) -> None:
    limits = {"tokens": tokens.file, "max_rate": 0.5, "max_burst": 2}
    async with guarded(**limits) as server, server.channel() as channel:
        shown = bearer(tokens.of["infers"])
        assert [await select(channel, shown) for _ in range(2)] == ["infers"] * 2
        error = await refused(channel, shown)
        assert error.code() == Code.RESOURCE_EXHAUSTED
        assert "the caller has used up its rate; try again in" in (error.details() or "")
        status = rpc_status.from_call(error)  # type: ignore[arg-type]
        assert status is not None
        retry = error_details_pb2.RetryInfo()
        assert status.details[0].Unpack(retry)
        assert 0 < retry.retry_delay.ToMilliseconds() <= 2000
        assert await select(channel, bearer(tokens.of["all"])) == "all"
        assert server.seen[2].too_fast


async def test_without_tokens_a_rate_is_that_of_an_address(guarded: Any) -> None:
    async with guarded(max_rate=0.1, max_burst=1) as server:
        async with server.channel() as channel:
            assert await select(channel) == ""
        async with server.channel() as channel:  # another connection is not another caller
            assert (await refused(channel)).code() == Code.RESOURCE_EXHAUSTED


async def test_strangers_are_bounded_by_address_and_take_nothing_from_who_is_known(
    guarded: Any, tokens: Tokens
) -> None:
    limits = {"tokens": tokens.file, "max_rate": 0.1, "max_burst": 3}
    async with guarded(**limits) as server, server.channel() as channel:
        wrong = [(), bearer("x"), bearer(new_token("infers")), bearer(new_token("all")), ()]
        errors = [await refused(channel, each) for each in wrong]
        codes = [error.code() for error in errors]
        assert codes == [Code.UNAUTHENTICATED] * 3 + [Code.RESOURCE_EXHAUSTED] * 2
        said = errors[-1].details() or ""
        assert said.startswith("too many calls from this address show no token or certificate that")
        async with server.channel() as other:  # another connection is not another address
            assert (await refused(other, wrong[1])).code() == Code.RESOURCE_EXHAUSTED
            stub = gateway_pb2_grpc.SubnetGatewayStub(other)
            assert await code_of(stub.InferStream(NONE, timeout=10)) == Code.RESOURCE_EXHAUSTED
        for name in ("infers", "all"):
            shown = bearer(tokens.of[name])
            assert [await select(channel, shown) for _ in range(3)] == [name] * 3
        await until(lambda: len(server.seen) == 13, 5)
        assert sorted(call.refused for call in server.seen) == [False] * 6 + [True] * 7


async def test_strangers_with_certificates_are_bounded_too(
    guarded: Any, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, nobody = authority.issue("localhost"), authority.issue("nobody.local")
    monkeypatch.setattr(access, "names_of", lambda _: [])  # what no authority here would issue
    files = {"tls_cert": own.cert, "tls_key": own.key, "tls_client_ca": authority.ca}
    async with (
        guarded(**files, max_rate=0.1, max_burst=1) as server,
        server.channel(trusting(authority, nobody)) as channel,
    ):
        assert (await refused(channel)).code() == Code.UNAUTHENTICATED
        assert (await refused(channel)).code() == Code.RESOURCE_EXHAUSTED


async def test_what_a_caller_may_not_do_takes_from_its_rate(guarded: Any, tokens: Tokens) -> None:
    limits = {"tokens": tokens.file, "max_rate": 0.1, "max_burst": 2}
    async with guarded(**limits) as server, server.channel() as channel:
        shown = bearer(tokens.of["fetches"])
        codes = [(await refused(channel, shown)).code() for _ in range(3)]
        assert codes == [Code.PERMISSION_DENIED] * 2 + [Code.RESOURCE_EXHAUSTED]
        await until(lambda: len(server.seen) == 3, 5)
        assert sorted(call.refused for call in server.seen) == [False, True, True]


async def test_without_a_rate_strangers_are_told_what_is_expected(
    guarded: Any, tokens: Tokens
) -> None:
    async with guarded(tokens=tokens.file) as server, server.channel() as channel:
        assert {(await refused(channel)).code() for _ in range(20)} == {Code.UNAUTHENTICATED}


async def test_a_stream_is_read_no_faster_than_its_caller_may_call(guarded: Any) -> None:
    async with guarded(max_rate=20.0, max_burst=1) as server, server.channel() as channel:
        stub = gateway_pb2_grpc.SubnetGatewayStub(channel)
        requests = [gateway_pb2.InferRequest(id=str(n)) for n in range(6)]
        clock = asyncio.get_running_loop().time
        began = clock()
        answered = [r.id async for r in stub.InferStream(iter(requests), timeout=20)]
        assert answered == [str(n) for n in range(6)]
        assert clock() - began >= 6 / 20 - 0.02


def test_tokens_do_not_go_over_the_network_in_plain_text(tokens: Tokens) -> None:
    with pytest.raises(UsageError, match=r"^tokens: expected tls_cert and tls_key, for on 0\.0"):
        Guard(SecurityConfig(tokens=tokens.file), "0.0.0.0")
    for host in ("127.0.0.1", "::1", "localhost"):
        Guard(SecurityConfig(tokens=tokens.file), host)
    Guard(SecurityConfig(tokens=tokens.file, tokens_without_tls=True), "0.0.0.0")


def test_files_that_cannot_be_used_are_a_mistake_in_usage(tmp_path: Path) -> None:
    none = tmp_path / "none"
    with pytest.raises(UsageError, match=f"^tokens: {none}: No such file or directory$"):
        Guard(SecurityConfig(tokens=none), "127.0.0.1")
    with pytest.raises(UsageError, match=f"^tls: {none}: No such file or directory$"):
        Guard(SecurityConfig(tls_cert=none, tls_key=none), "127.0.0.1")


def test_metrics_tell_when_a_certificate_ends_and_what_cannot_be_read(
    authority: Authority, tokens: Tokens
) -> None:
    own, registry = authority.issue("localhost"), CollectorRegistry()
    config = SecurityConfig(tls_cert=own.cert, tls_key=own.key, tokens=tokens.file)
    Guard(config, "127.0.0.1").add_metrics(registry)
    expires = registry.get_sample_value("compofa_tls_certificate_expires_timestamp_seconds")
    assert expires is not None
    assert expires > 1.9e9
    for what in ("tls", "tokens"):
        name = "compofa_credentials_reload_failing"
        assert registry.get_sample_value(name, {"what": what}) == 0
