"""What bounds connections and their headers, as options of a gRPC server."""

from __future__ import annotations

import resource

from gateway.security.config import SecurityConfig

MAX_METADATA_BYTES = 16 * 1024
HANDSHAKE_S = 20.0
_UNLIMITED_FILES = 1 << 20
_OF_FILES = 0.75  # the rest is for the store, exports, metrics and the engine
_HEALTH_CONNECTIONS, _HEALTH_STREAMS, _HEALTH_BYTES = 64, 16, 4096


def connection_options(config: SecurityConfig) -> list[tuple[str, int]]:
    """Whoever connects and says nothing is cut off, too many are not let in, headers end."""
    most = config.max_connections or most_connections()
    options = [
        ("grpc.max_allowed_incoming_connections", most),
        ("grpc.max_concurrent_streams", config.max_streams),
        *_handshake_options(),
    ]
    if config.max_connection_age_s is not None:
        options.append(("grpc.max_connection_age_ms", _ms(config.max_connection_age_s)))
    if config.max_connection_age_grace_s is not None:
        grace_ms = _ms(config.max_connection_age_grace_s)
        options.append(("grpc.max_connection_age_grace_ms", grace_ms))
    return options


def health_options() -> list[tuple[str, int]]:
    """The same for the port of probes, which are few and small."""
    return [
        ("grpc.max_allowed_incoming_connections", _HEALTH_CONNECTIONS),
        ("grpc.max_concurrent_streams", _HEALTH_STREAMS),
        ("grpc.max_receive_message_length", _HEALTH_BYTES),
        ("grpc.so_reuseport", 0),
        *_handshake_options(),
    ]


def most_connections() -> int:
    """How many the open files that this process may have leave room for."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = _UNLIMITED_FILES if soft == resource.RLIM_INFINITY else min(soft, _UNLIMITED_FILES)
    return max(1, int(files * _OF_FILES))


def _handshake_options() -> list[tuple[str, int]]:
    # Below the first bound all headers pass, above the second none; between them some, by chance.
    return [
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.server_handshake_timeout_ms", _ms(HANDSHAKE_S)),
    ]


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
