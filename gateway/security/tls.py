"""The gateway's certificate: read, checked, and given to gRPC for every new connection.

A connection keeps the certificate that it began with; `--max-connection-age-s` bounds how long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway import logs
from gateway.security.reloaded import Reloaded


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What the files hold, in PEM, and when the certificate ends."""

    cert: bytes = field(repr=False)
    key: bytes = field(repr=False)
    client_ca: bytes | None = field(repr=False)
    expires: datetime


def read_tls_files(cert: Path, key: Path, client_ca: Path | None) -> TlsFiles:
    """Raises `ValueError` where a file is not what it should be or they do not fit together, and
    `OSError`."""
    chain_pem, key_pem = cert.read_bytes(), key.read_bytes()
    own, *_ = _certificates(cert, chain_pem)
    if _private_key(key, key_pem).public_key() != own.public_key():
        raise ValueError(f"{key}: is not the private key of the certificate in {cert}")
    ca_pem = None if client_ca is None else client_ca.read_bytes()
    if client_ca is not None and ca_pem is not None:
        _certificates(client_ca, ca_pem)
    return TlsFiles(chain_pem, key_pem, ca_pem, own.not_valid_after_utc)


def _certificates(path: Path, pem: bytes) -> Sequence[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ValueError(f"{path}: expected certificates in PEM") from None


def _private_key(path: Path, pem: bytes) -> PrivateKeyTypes:
    """Says nothing of what is in the file."""
    try:
        return load_pem_private_key(pem, password=None)
    except TypeError:
        raise ValueError(f"{path}: expected a private key that is not encrypted") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(f"{path}: expected a private key in PEM") from None


class ServerTls:
    """TLS for one port, by the files as they are at each new connection."""

    def __init__(self, cert: Path, key: Path, client_ca: Path | None) -> None:
        files = [cert, key, *([] if client_ca is None else [client_ca])]
        self.files = Reloaded(
            "TLS certificate", files, lambda: read_tls_files(cert, key, client_ca)
        )
        self._has_client_ca = client_ca is not None
        self._given: TlsFiles | None = None

    @property
    def expires(self) -> datetime:
        """When the certificate that is served by ends."""
        return self.files.value.expires

    def credentials(self) -> grpc.ServerCredentials:
        """What gRPC listens with. Where there are authorities for clients, a client without a
        certificate by one of them cannot connect."""
        self._warn_if_expired()
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self.files.value),
            self._if_changed,  # type: ignore[arg-type] # the stubs do not know that None may come
            require_client_authentication=self._has_client_ca,
        )

    def _if_changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC's own threads before each handshake; None keeps what it has."""
        now = self.files.value
        if now is self._given:
            return None
        self._given = now
        return _configuration(now)

    def _warn_if_expired(self) -> None:
        if self.expires <= datetime.now(UTC):
            ended = self.expires.isoformat()
            logs.warn("the TLS certificate has expired; clients will refuse it", expired=ended)


def _configuration(files: TlsFiles) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(files.key, files.cert)], files.client_ca)
