"""What a gateway process is told when it starts. Knows nothing of gRPC or torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway.request import DEFAULT_MAX_BATCH

MIB = 1024 * 1024
DEFAULT_MAX_PENDING = 256

Port = Annotated[int, Field(ge=0, le=65535)]
Bytes = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=1)]


class ServerConfig(BaseModel):
    """Everything `serve` needs, validated and frozen. Port 0 takes a free one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    artifact: Path = Field(description="folder of the artifact to serve")
    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="address to listen on; there is no authentication, so only this machine "
        "unless told otherwise",
    )
    port: Port = Field(default=50051, description="gRPC")
    metrics_port: Port = Field(default=9090, description="HTTP: /metrics and /healthz")
    port_file: Path | None = Field(
        default=None, description="written once ready: the ready line's JSON object"
    )
    store: str | None = Field(
        default=None,
        description="URL of the latency-table store (sqlite or redis); if absent COMPOFA_STORE's, "
        "or the file in the user's state folder",
    )
    fallback_device_class: str | None = Field(
        default=None, description="class that serves requests of unknown ones"
    )
    grace_s: float = Field(
        default=20.0, ge=0.0, le=3600.0, description="how long requests in flight may take to end"
    )
    max_message_bytes: Bytes = Field(
        default=128 * MIB,
        description="largest message read off the wire; above it gRPC answers by itself",
    )
    max_image_bytes: Bytes = Field(default=16 * MIB, description="largest encoded image")
    max_batch: Count = Field(default=DEFAULT_MAX_BATCH, description="most rows in one tensor")
    max_pending: Count = Field(
        default=DEFAULT_MAX_PENDING, description="most requests queued or running"
    )
    max_resident_bytes: Bytes = Field(
        default=256 * MIB, description="bound on the weights of the subnets kept in memory"
    )
    workers: Count = Field(default=1, description="forwards that run at once")
    threads: Count | None = Field(
        default=None, description="torch's threads for one forward; torch's own choice if absent"
    )
    log_requests: bool = Field(default=True, description="one JSON line a request")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.port == self.metrics_port != 0:
            raise ValueError(f"metrics_port {self.metrics_port}: expected another than the port")
        if self.max_image_bytes > self.max_message_bytes:
            raise ValueError(
                f"max_image_bytes {self.max_image_bytes}: expected at most max_message_bytes, "
                f"{self.max_message_bytes}"
            )
        return self
