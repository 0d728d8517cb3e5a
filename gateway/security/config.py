"""What a gateway is told of TLS, callers and their limits. Knows no file's content."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Seconds = Annotated[float, Field(ge=1.0, le=365 * 86400.0)]
Count = Annotated[int, Field(ge=1)]


class SecurityConfig(BaseModel):
    """Without any of it: plain text, no callers told apart, and bounds that only abuse meets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tls_cert: Path | None = Field(
        default=None, description="certificate chain in PEM, the gateway's own first"
    )
    tls_key: Path | None = Field(default=None, description="its private key in PEM, not encrypted")
    tls_client_ca: Path | None = Field(
        default=None, description="authorities in PEM; a client must have a certificate by one"
    )
    health_port: Annotated[int, Field(ge=0, le=65535)] | None = Field(
        default=None, description="plain gRPC that answers grpc.health.v1 and nothing else"
    )
    tokens: Path | None = Field(
        default=None, description="who may call and what, a line each, as `token new` writes them"
    )
    tokens_without_tls: bool = Field(
        default=False, description="take tokens in plain text, where a proxy in front speaks TLS"
    )
    max_rate: Annotated[float, Field(gt=0, le=1e6)] | None = Field(
        default=None, description="calls, and messages of streams, a second of one caller"
    )
    max_burst: Count | None = Field(
        default=None, description="how many may come at once; the rate's of one second if absent"
    )
    max_streams: Count = Field(default=1024, description="calls at once on one connection")
    max_connections: Count | None = Field(
        default=None, description="at once; three quarters of the open files allowed if absent"
    )
    max_connection_age_s: Seconds | None = Field(
        default=None, description="after which a client is asked to connect again"
    )
    max_connection_age_grace_s: Seconds | None = Field(
        default=None, description="for the calls on it to end; as long as they take if absent"
    )

    @property
    def knows_callers(self) -> bool:
        """Whether a call must come from somebody who is known."""
        return self.tokens is not None or self.tls_client_ca is not None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        needed = {
            "tls_cert": ("tls_key", "its private key in PEM"),
            "tls_key": ("tls_cert", "its certificate in PEM"),
            "tls_client_ca": ("tls_cert", "a certificate of the gateway's own"),
            "tokens_without_tls": ("tokens", "a file of tokens"),
            "max_burst": ("max_rate", "a rate"),
            "max_connection_age_grace_s": ("max_connection_age_s", "an age"),
        }
        for name, (other, what) in needed.items():
            if getattr(self, name) and getattr(self, other) is None:
                raise ValueError(f"{name}: expected {other} beside it, {what}")
        if self.tokens_without_tls and self.tls_cert:
            raise ValueError("tokens_without_tls: has no meaning with tls_cert")
        return self
