"""What a client shows a gateway, and how it knows that it is the one: TLS and a token.

Nothing here prints a token or a key; no token leaves this machine in plain text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import grpc

from gateway.security.addresses import is_own

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Credentials:
    """Without any of it: plain text, and nobody in particular.

    `tls` asks for TLS by the authorities that gRPC comes with; `ca`, a PEM file, for TLS by those
    in it. `certificate` and `key` are the client's own, PEM files. `server_name` is what the
    gateway's certificate says, where that is not what the target is called, as behind a forwarded
    port. `token` is what `compofa token new` printed.
    """

    tls: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str | None = None
    token: str | None = field(default=None, repr=False)

    @property
    def with_tls(self) -> bool:
        return self.tls or self.ca is not None or self.certificate is not None

    def of_channel(self) -> grpc.ChannelCredentials | None:
        """What gRPC connects with; None for plain text. Raises `ValueError` where the files do
        not fit together, `OSError`."""
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key: expected both or none of them")
        if not self.with_tls:
            if self.server_name is not None:
                raise ValueError("server_name: has no meaning without TLS")
            return None
        return grpc.ssl_channel_credentials(
            root_certificates=_pem(self.ca, "CERTIFICATE"),
            private_key=_pem(self.key, "PRIVATE KEY"),
            certificate_chain=_pem(self.certificate, "CERTIFICATE"),
        )

    @property
    def channel_options(self) -> tuple[tuple[str, str], ...]:
        """What a channel takes besides."""
        if self.server_name is None:
            return ()
        return (("grpc.ssl_target_name_override", self.server_name),)

    def of_call(self, target: str) -> Metadata:
        """What goes with every call to `target`. Raises `ValueError` for a token that others
        could read on its way, or that is none."""
        if self.token is None:
            return ()
        if not self.token.isascii() or not self.token.isprintable() or " " in self.token:
            raise ValueError("token: expected one line of printable ASCII without spaces")
        if not self.with_tls and not is_local(target):
            raise ValueError(f"token: expected TLS too, for others can read what goes to {target}")
        return (("authorization", f"Bearer {self.token}"),)


def is_local(target: str) -> bool:
    """Whether what goes to a gRPC target stays on this machine."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    name = target.removeprefix("dns:").removeprefix("ipv4:").removeprefix("ipv6:").lstrip("/")
    return all(is_own(each.rpartition(":")[0] or each) for each in name.split(","))


def read_token(path: Path) -> str:
    """The token in a file. Raises `ValueError` without what is in it, `OSError`."""
    try:
        token = path.read_text("utf-8").strip()
    except UnicodeDecodeError:
        token = ""
    if not token or len(token.splitlines()) > 1:
        raise ValueError(f"{path}: expected one line with a token")
    return token


def _pem(path: Path | None, what: str) -> bytes | None:
    """gRPC itself would say no more than that nobody could be reached."""
    if path is None:
        return None
    pem = path.read_bytes()
    if b"-----BEGIN " not in pem or f"{what}-----".encode() not in pem:
        raise ValueError(f"{path}: expected a {what.lower()} in PEM")
    if b"ENCRYPTED" in pem and what == "PRIVATE KEY":
        raise ValueError(f"{path}: expected a private key that is not encrypted")
    return pem
