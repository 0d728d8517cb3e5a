from __future__ import annotations

import re

import pytest

from gateway.learning.reports import RefusedReportError, client_key


def key(peer: str, name: str = "", *, trust: bool = False, salt: str = "net") -> str:
    return client_key(peer, name, trust_names=trust, salt=salt)


def test_one_machine_is_one_client_whatever_it_calls_itself() -> None:
    assert key("ipv4:10.0.0.1:4000", "a") == key("ipv4:10.0.0.1:5000", "b")
    assert key("ipv4:10.0.0.1:4000") != key("ipv4:10.0.0.2:4000")
    assert key("ipv6:%5B2001:db8::1%5D:1") == key("ipv6:[2001:db8::ffff]:2"), "has all of a /64"
    assert key("ipv6:%5B2001:db8::1%5D:1") != key("ipv6:%5B2001:db8:0:1::1%5D:1")
    assert key("ipv6:%5B::ffff:10.0.0.1%5D:1") == key("ipv4:10.0.0.1:2")


def test_peers_without_an_address_share_one() -> None:
    peers = ("unix:", "unix:/run/socket", "", "ipv4:nonsense:1", "vsock:3:4")
    assert len({key(peer) for peer in peers}) == 1


def test_names_count_where_they_are_trusted() -> None:
    one, other = (key("ipv4:10.0.0.1:1", name, trust=True) for name in ("a", "b"))
    assert one != other
    assert one == key("ipv4:10.0.0.9:1", "a", trust=True)
    assert key("ipv4:10.0.0.1:1", trust=True) == key("ipv4:10.0.0.1:2"), "who gives none"
    assert key("ipv4:10.0.0.1:1", "address 10.0.0.2", trust=True) != key("ipv4:10.0.0.2:1")


def test_a_key_shows_nobody() -> None:
    assert re.fullmatch("[0-9a-f]{16}", key("ipv4:10.0.0.1:1", "phone of maria", trust=True))
    assert key("ipv4:10.0.0.1:1", salt="net") != key("ipv4:10.0.0.1:1", salt="another")


@pytest.mark.parametrize("trust", [True, False])
def test_a_name_has_a_longest_form(trust: bool) -> None:
    assert key("ipv4:10.0.0.1:1", "ä" * 64, trust=trust)
    with pytest.raises(RefusedReportError, match="client: expected at most 128 bytes, got 130"):
        key("ipv4:10.0.0.1:1", "ä" * 65, trust=trust)
