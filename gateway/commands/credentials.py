"""The options of commands that call a gateway: how to know it, and what to show it.

There is none for a token itself: other users of a machine can read command lines.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from supernet.commandline import UsageError

if TYPE_CHECKING:
    from gateway.credentials import Credentials

CA_VARIABLE = "COMPOFA_TLS_CA"
CERT_VARIABLE = "COMPOFA_TLS_CERT"
KEY_VARIABLE = "COMPOFA_TLS_KEY"
TOKEN_VARIABLE = "COMPOFA_TOKEN"
TOKEN_FILE_VARIABLE = "COMPOFA_TOKEN_FILE"


def add_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "with --target", f"A token comes from {TOKEN_VARIABLE} or from a file."
    )
    group.add_argument(
        "--tls", action="store_true", help="speak TLS, by the authorities that gRPC comes with"
    )
    for option, variable, what in (
        ("--tls-ca", CA_VARIABLE, "authorities to know the gateway by, in PEM: implies --tls"),
        ("--tls-cert", CERT_VARIABLE, "certificate to show it, in PEM"),
        ("--tls-key", KEY_VARIABLE, "the certificate's private key, in PEM"),
        ("--token-file", TOKEN_FILE_VARIABLE, "a token, on one line"),
    ):
        group.add_argument(option, type=Path, metavar="FILE", help=f"{what}; or {variable}")
    group.add_argument(
        "--tls-server-name",
        metavar="NAME",
        help="the gateway's name in its certificate, where the target has another: behind a "
        "forwarded port, say",
    )


def check_target(arguments: argparse.Namespace) -> None:
    """Raises `UsageError` for credentials that nobody would be shown."""
    for name in ("tls", "tls_ca", "tls_cert", "tls_key", "tls_server_name", "token_file"):
        if getattr(arguments, name) and arguments.target is None:
            raise UsageError(f"--{name.replace('_', '-')}: has no meaning without --target")


def credentials_of(arguments: argparse.Namespace) -> Credentials:
    """What options and environment give; options come first. Raises `UsageError`, `OSError`."""
    from gateway.credentials import Credentials

    try:
        return Credentials(
            tls=arguments.tls,
            ca=_file(arguments.tls_ca, CA_VARIABLE),
            certificate=_file(arguments.tls_cert, CERT_VARIABLE),
            key=_file(arguments.tls_key, KEY_VARIABLE),
            server_name=arguments.tls_server_name,
            token=_token(arguments.token_file),
        )
    except ValueError as error:
        raise UsageError(str(error)) from None


def _file(given: Path | None, variable: str) -> Path | None:
    said = os.environ.get(variable)
    return given or (Path(said) if said else None)


def _token(given: Path | None) -> str | None:
    from gateway.credentials import read_token

    in_environment = os.environ.get(TOKEN_VARIABLE)
    if given is None and in_environment:
        return in_environment
    file = _file(given, TOKEN_FILE_VARIABLE)
    return None if file is None else read_token(file)
