"""What is said of certificates and keys that cannot be served by, before gRPC sees them."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from gateway.security.tls import ServerTls, read_tls_files
from tests.certificates import EXPIRED, Authority, Pair


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def pair(authority: Authority) -> Pair:
    return authority.issue("localhost")


def encrypt(key: Path) -> None:
    private = load_pem_private_key(key.read_bytes(), None)
    locked = BestAvailableEncryption(b"password")
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))


def test_what_fits_together_is_read_and_not_shown(authority: Authority, pair: Pair) -> None:
    files = read_tls_files(pair.cert, pair.key, authority.ca)
    assert files.cert == pair.cert.read_bytes()
    assert "PRIVATE" not in repr(files)
    assert files.expires.year >= 2030


def test_a_key_of_another_certificate_is_named(authority: Authority, pair: Pair) -> None:
    other = authority.issue("other")
    with pytest.raises(ValueError, match=f"^{other.key}: is not the private key of .*{pair.cert}$"):
        read_tls_files(pair.cert, other.key, None)


@pytest.mark.parametrize("content", [b"", b"junk", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_files_that_are_no_pem_are_named(
    authority: Authority, pair: Pair, tmp_path: Path, content: bytes
) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_bytes(content)
    for files in ((bad, pair.key, None), (pair.cert, pair.key, bad)):
        with pytest.raises(ValueError, match=f"^{bad}: expected certificates in PEM$"):
            read_tls_files(*files)
    with pytest.raises(ValueError, match=f"^{bad}: expected a private key in PEM$"):
        read_tls_files(pair.cert, bad, authority.ca)


def test_cert_and_key_the_wrong_way_round_are_told(pair: Pair) -> None:
    with pytest.raises(ValueError, match=f"^{pair.key}: expected certificates in PEM$"):
        read_tls_files(pair.key, pair.cert, None)


def test_a_key_with_a_password_is_told(pair: Pair) -> None:
    encrypt(pair.key)
    with pytest.raises(ValueError, match="expected a private key that is not encrypted"):
        read_tls_files(pair.cert, pair.key, None)


def test_files_that_are_not_there_are_named(pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.pem"):
        read_tls_files(pair.cert, tmp_path / "none.pem", None)


def test_a_certificate_replaced_before_its_key_is_not_taken(
    authority: Authority, pair: Pair
) -> None:
    tls = ServerTls(pair.cert, pair.key, None)
    before = tls.files.value
    fresh = authority.issue("fresh")
    pair.cert.write_bytes(fresh.cert.read_bytes())
    tls.files.look()
    assert tls.files.value is before
    assert "is not the private key" in tls.files.error
    pair.key.write_bytes(fresh.key.read_bytes())
    tls.files.look()
    assert (tls.files.value.cert, tls.files.error) == (fresh.cert.read_bytes(), "")


def test_an_expired_certificate_is_served_by_and_told(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    pair = authority.issue("localhost", not_after=EXPIRED)
    tls = ServerTls(pair.cert, pair.key, None)
    assert tls.expires < EXPIRED.replace(year=EXPIRED.year + 1)
    tls.credentials()
    assert "has expired" in caplog.text
