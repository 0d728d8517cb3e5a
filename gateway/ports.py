"""Addresses and ports to listen on, before anything does."""

from __future__ import annotations

import socket


def in_address(host: str) -> str:
    """A host as it stands before `:PORT`."""
    return f"[{host}]" if ":" in host else host


def check_free(host: str, port: int) -> None:
    """Ask for the port in a way that says clearly what is wrong."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"{host}:{port}") from None
