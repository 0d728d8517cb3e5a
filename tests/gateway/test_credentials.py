"""What a client shows, and what it keeps to itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.client import Client
from gateway.credentials import Credentials, is_local, read_token
from gateway.security.tokens import new_token
from tests.certificates import Authority


@pytest.mark.parametrize(
    ("target", "local"),
    [
        ("localhost:50051", True),
        ("127.0.0.1:50051", True),
        ("127.3.2.1:1", True),
        ("[::1]:50051", True),
        ("dns:///localhost:50051", True),
        ("ipv4:127.0.0.1:1,127.0.0.2:2", True),
        ("unix:/run/compofa.sock", True),
        ("ipv4:127.0.0.1:1,10.0.0.1:2", False),
        ("gateway:50051", False),
        ("localhost.example.com:50051", False),
        ("dns://8.8.8.8/localhost:50051", False),
        ("10.0.0.1:50051", False),
    ],
)
def test_a_token_goes_in_plain_text_on_this_machine_only(target: str, local: bool) -> None:
    assert is_local(target) == local
    credentials = Credentials(token="abc")
    if local:
        assert credentials.of_call(target) == (("authorization", "Bearer abc"),)
    else:
        with pytest.raises(ValueError, match=r"^token: expected TLS too"):
            Client(target, credentials=credentials)


def test_with_tls_a_token_goes_anywhere() -> None:
    assert Credentials(tls=True, token="abc").of_call("gateway:50051")
    with Client("gateway:50051", credentials=Credentials(tls=True, token="abc")):
        pass


@pytest.mark.parametrize("token", ["a b", "a\nb", "ä", "a\r"])
def test_a_token_that_no_header_can_hold_is_told_and_not_shown(token: str) -> None:
    with pytest.raises(ValueError, match=r"^token: expected one line of printable ASCII") as caught:
        Credentials(token=token).of_call("localhost:1")
    assert token not in str(caught.value)


def test_no_credentials_show_their_token() -> None:
    assert "s3cret" not in repr(Credentials(token="s3cret"))


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    pair = authority.issue("device-7.local")
    junk = tmp_path / "junk"
    junk.write_text("junk")
    for credentials, said in (
        (Credentials(ca=junk), f"^{junk}: expected a certificate in PEM$"),
        (Credentials(ca=pair.key), f"^{pair.key}: expected a certificate in PEM$"),
        (Credentials(certificate=pair.cert, key=junk), f"^{junk}: expected a private key in PEM$"),
        (Credentials(certificate=pair.cert), "^certificate and key: expected both"),
        (Credentials(tls=True, key=pair.key), "^certificate and key: expected both"),
    ):
        with pytest.raises(ValueError, match=said):
            credentials.of_channel()
    with pytest.raises(FileNotFoundError):
        Credentials(ca=tmp_path / "none").of_channel()
    assert Credentials(ca=authority.ca, certificate=pair.cert, key=pair.key).of_channel()
    assert Credentials().of_channel() is None


def test_a_token_s_file_has_one_line(tmp_path: Path) -> None:
    file, token = tmp_path / "token", new_token("edge-7")
    file.write_text(f"{token}\n")
    assert read_token(file) == token
    for content in (b"", b"\n", b"s3cret\ns3cret\n", b"\xff\xfe"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=f"^{file}: expected one line with a token$"):
            read_token(file)
