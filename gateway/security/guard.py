"""TLS, callers and their limits, put together as a configuration wants them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import grpc
from prometheus_client import CollectorRegistry, Gauge

from gateway.security.access import Access
from gateway.security.addresses import is_own
from gateway.security.config import SecurityConfig
from gateway.security.identities import Identities, Right, read_identities
from gateway.security.rates import Rates
from gateway.security.reloaded import Reloaded
from supernet.commandline import UsageError

if TYPE_CHECKING:  # only gateways with TLS need it
    from gateway.security.tls import ServerTls

T = TypeVar("T")


class Guard:
    """Reads certificate and tokens, and follows them while `run` does.

    Raises `UsageError` where they cannot be served by, or where tokens would go over the network
    in plain text.
    """

    def __init__(self, config: SecurityConfig, host: str) -> None:
        self._config = config
        if config.tokens and not (config.tls_cert or config.tokens_without_tls or is_own(host)):
            raise UsageError(
                f"tokens: expected tls_cert and tls_key, for on {host} a token in plain text can "
                "be read on its way; tokens_without_tls where a proxy in front speaks TLS"
            )
        self._tls = _opened("tls", lambda: _tls(config))
        self._identities = _opened("tokens", lambda: _identities(config.tokens))

    async def run(self) -> None:
        """Read the files again when they change, until cancelled."""
        files = [each for each in (self._tls and self._tls.files, self._identities) if each]
        await asyncio.gather(*(each.run() for each in files))

    def add_port(self, server: grpc.aio.Server, address: str) -> int:
        """Let a server listen, with TLS where there is any; the port."""
        if self._tls is None:
            return server.add_insecure_port(address)
        try:
            return server.add_secure_port(address, self._tls.credentials())
        except RuntimeError:  # the address is free, that was looked at before
            raise UsageError(f"tls_cert: gRPC cannot serve by {self._config.tls_cert}") from None

    def interceptors(
        self, open_methods: Collection[str], rights: Mapping[str, Right | None]
    ) -> list[grpc.aio.ServerInterceptor]:
        """What lets callers in: nothing where everybody may do everything at any rate."""
        config = self._config
        if not config.knows_callers and config.max_rate is None:
            return []
        return [
            Access(
                self._known if config.knows_callers else None,
                certificates=config.tls_client_ca is not None,
                rates=_rates(config),
                strangers=_rates(config),
                open_methods=open_methods,
                rights=rights,
            )
        ]

    def add_metrics(self, registry: CollectorRegistry) -> None:
        """What tells that a certificate ends, or that a file's new content is not served by."""
        failing = Gauge(
            "compofa_credentials_reload_failing",
            "Whether certificate or tokens on disk cannot be read, so that the last ones serve on.",
            ["what"],
            registry=registry,
        )
        if self._tls is not None:
            tls = self._tls
            failing.labels("tls").set_function(lambda: bool(tls.files.error))
            Gauge(
                "compofa_tls_certificate_expires_timestamp_seconds",
                "When the certificate that is served by ends.",
                registry=registry,
            ).set_function(lambda: tls.expires.timestamp())
        if self._identities is not None:
            tokens = self._identities
            failing.labels("tokens").set_function(lambda: bool(tokens.error))

    def _known(self) -> Identities:
        return Identities() if self._identities is None else self._identities.value


def _tls(config: SecurityConfig) -> ServerTls | None:
    if config.tls_cert is None or config.tls_key is None:
        return None
    from gateway.security.tls import ServerTls

    return ServerTls(config.tls_cert, config.tls_key, config.tls_client_ca)


def _identities(tokens: Path | None) -> Reloaded[Identities] | None:
    return Reloaded("tokens", [tokens], lambda: read_identities(tokens)) if tokens else None


def _rates(config: SecurityConfig) -> Rates | None:
    return Rates(config.max_rate, config.max_burst) if config.max_rate else None


def _opened(what: str, make: Callable[[], T]) -> T:
    try:
        return make()
    except OSError as error:
        raise UsageError(f"{what}: {error.filename}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{what}: {error}") from None
