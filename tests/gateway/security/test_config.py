"""What a security configuration may be: options that need each other, and their bounds."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.config import ServerConfig
from gateway.security.config import SecurityConfig
from gateway.security.limits import connection_options, most_connections
from supernet.validation import first_error

CERT, KEY, CA = Path("cert.pem"), Path("key.pem"), Path("ca.pem")


def test_by_default_there_is_no_tls_and_nobody_has_to_be_known() -> None:
    config = SecurityConfig()
    assert not config.knows_callers
    assert (config.tls_cert, config.tokens, config.max_rate, config.health_port) == (None,) * 4
    assert SecurityConfig(tokens=Path("tokens")).knows_callers
    assert SecurityConfig(tls_cert=CERT, tls_key=KEY, tls_client_ca=CA).knows_callers
    assert not SecurityConfig(tls_cert=CERT, tls_key=KEY).knows_callers


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tls_cert": CERT}, "tls_cert: expected tls_key beside it, its private key in PEM"),
        ({"tls_key": KEY}, "tls_key: expected tls_cert beside it, its certificate in PEM"),
        ({"tls_client_ca": CA}, "tls_client_ca: expected tls_cert beside it"),
        ({"max_burst": 2}, "max_burst: expected max_rate beside it"),
        ({"max_connection_age_grace_s": 5}, "max_connection_age_grace_s: expected max_connection"),
        ({"tokens_without_tls": True}, "tokens_without_tls: expected tokens beside it"),
        ({"max_rate": 0}, "max_rate: "),
        ({"max_rate": float("nan")}, "max_rate: "),
        ({"max_streams": 0}, "max_streams: "),
        ({"max_connections": 0}, "max_connections: "),
        ({"max_connection_age_s": 0.5}, "max_connection_age_s: "),
        ({"health_port": 65536}, "health_port: "),
        ({"colour": "red"}, "colour: "),
    ],
)
def test_what_makes_no_sense_is_named(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SecurityConfig(**options)  # type: ignore[arg-type]
    assert first_error(caught.value).startswith(said)


def test_the_health_port_is_another_than_the_others() -> None:
    for port in (50051, 9090):
        with pytest.raises(ValidationError, match=f"health_port {port}: expected another"):
            ServerConfig(artifact=Path("net"), security=SecurityConfig(health_port=port))


def test_connections_leave_open_files_for_the_rest() -> None:
    assert 1 <= most_connections() < 1 << 20
    options = dict(connection_options(SecurityConfig()))
    assert options["grpc.max_allowed_incoming_connections"] == most_connections()
    assert "grpc.max_connection_age_ms" not in options
    asked = SecurityConfig(
        max_connections=7, max_connection_age_s=60, max_connection_age_grace_s=1.5
    )
    options = dict(connection_options(asked))
    assert options["grpc.max_allowed_incoming_connections"] == 7
    assert options["grpc.max_connection_age_ms"] == 60_000
    assert options["grpc.max_connection_age_grace_ms"] == 1500
