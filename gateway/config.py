"""What a gateway process is told when it starts. Knows nothing of gRPC or torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway.logs import Level
from gateway.request import DEFAULT_MAX_BATCH
from gateway.security.addresses import listens_on_own
from gateway.security.config import SecurityConfig
from gateway.tracing.config import TracingConfig
from gateway.ui.config import UiConfig
from supernet.latency import DeviceClass

MIB = 1024 * 1024
DEFAULT_MAX_RESIDENT_BYTES = 256 * MIB
DEFAULT_MAX_PENDING = 256

Port = Annotated[int, Field(ge=0, le=65535)]
Bytes = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=1)]


class LearningConfig(BaseModel):
    """How latency tables follow what clients report, and what bounds that."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trust_client_names: bool = Field(
        default=False,
        description="tell clients apart by the names they give, not by their addresses: behind a "
        "proxy, and where nobody has a reason to make names up",
    )
    min_clients: int = Field(
        default=5, ge=3, description="clients that must have reported a subnet before it counts"
    )
    min_reports: Count = Field(
        default=5, description="reports of a subnet before a client counts for it"
    )
    window_s: float = Field(
        default=3600.0, gt=0, le=30 * 86400.0, description="how long a report counts, at most"
    )
    interval_s: float = Field(
        default=60.0, ge=0.1, le=86400.0, description="between two versions of a class, at least"
    )
    min_change: float = Field(
        default=0.05, gt=0, le=1, description="a version moves a subnet by at least this fraction"
    )
    max_step: float = Field(
        default=1.25, gt=1, le=10, description="a version moves no subnet by more than this factor"
    )
    max_total: float = Field(
        default=4.0, gt=1, le=100, description="all versions together move none by more than this"
    )
    max_series: int = Field(
        default=10_000, ge=2, description="subnets of clients that are kept, over all classes"
    )
    max_client_series: Count = Field(
        default=64, description="subnets that are kept of one client and class"
    )
    max_client_reports: Count = Field(
        default=10_000, description="reports taken of one client and class in half a window"
    )
    max_streams: Count = Field(default=256, description="streams of reports open at once")
    max_stream_reports: Count = Field(
        default=10_000, description="reports in one stream before it is answered"
    )
    idle_s: float = Field(
        default=60.0, gt=0, le=3600.0, description="silence after which a stream is answered"
    )
    keep_versions: Count = Field(
        default=10, description="learned versions of a class that are kept"
    )


class ExportConfig(BaseModel):
    """How subnets are handed out as files, and what bounds that."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cache: Path | None = Field(
        default=None,
        description="folder of the exports that were built; the user's cache folder if absent",
    )
    max_cache_bytes: Bytes = Field(
        default=1024 * MIB,
        description="bound on that folder; what was not asked for longest goes first",
    )
    max_builds: Count = Field(default=1, description="exports that are built at once")
    max_build_s: float = Field(
        default=600.0, gt=0, le=86400.0, description="how long one may take to build"
    )
    max_streams: Count = Field(default=64, description="fetches at once, waiting ones too")


class ServerConfig(BaseModel):
    """Everything `serve` needs, validated and frozen. Port 0 takes a free one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    artifact: Path = Field(description="folder of the artifact to serve")
    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="address to listen on; only this machine unless told otherwise, for without "
        "`security` everybody is let in",
    )
    port: Port = Field(default=50051, description="gRPC")
    metrics_host: str | None = Field(
        default=None, min_length=1, description="address for HTTP; as for gRPC if absent"
    )
    metrics_port: Port = Field(default=9090, description="HTTP: /metrics and /healthz")
    port_file: Path | None = Field(
        default=None, description="written once ready: the ready line's JSON object"
    )
    store: str | None = Field(
        default=None,
        description="URL of the latency-table store (sqlite or redis); if absent COMPOFA_STORE's, "
        "or the file in the user's state folder",
    )
    fallback_device_class: DeviceClass | None = Field(
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
        default=DEFAULT_MAX_RESIDENT_BYTES,
        description="bound on the weights of subnets compiled whole",
    )
    engine: Literal["auto", "onnxruntime", "openvino", "torch"] = Field(
        default="auto", description="what runs subnets: the fastest that is installed, or this one"
    )
    precision: Literal["f32", "bf16"] = Field(
        default="f32", description="bf16 is faster on processors that have it, and less exact"
    )
    device: str | None = Field(
        default=None,
        min_length=1,
        description="cpu, or cuda or cuda:1 with the engine torch; a GPU if there is one and no "
        "other engine is asked for",
    )
    compile_cache: Path | None = Field(
        default=None,
        description="folder of what the engine has compiled, for a faster start; the user's cache "
        "folder if absent",
    )
    workers: Count | None = Field(
        default=None,
        description="batches that run at once; if absent what cores allow, two on a GPU",
    )
    threads: Count | None = Field(
        default=None,
        description="cores for one batch; if absent one with the engine onnxruntime, else two "
        "where there are two",
    )
    processes: bool | None = Field(
        default=None,
        description="run batches in a process for each worker; if absent on a CPU, of folded nets",
    )
    log_requests: bool = Field(default=True, description="one JSON line a request")
    log_level: Level = Field(
        default="info",
        description="from which level on lines are written; SIGUSR1 and SIGUSR2 change it",
    )
    debug: bool = Field(
        default=False, description="answer /debug on the HTTP port, to this machine alone"
    )
    tracing: TracingConfig | None = Field(
        default=None, description="send traces by OpenTelemetry; off if absent"
    )
    learning: LearningConfig | None = Field(
        default=None, description="learn latency tables from what clients report; off if absent"
    )
    exports: ExportConfig | None = Field(
        default=ExportConfig(), description="hand out subnets as files; off if none"
    )
    security: SecurityConfig = Field(
        default=SecurityConfig(), description="TLS, callers and their limits"
    )
    ui: UiConfig | None = Field(
        default=None, description="the live page, for this machine alone; off if absent"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.port == self.metrics_port != 0:
            raise ValueError(f"metrics_port {self.metrics_port}: expected another than the port")
        if self.security.health_port and self.security.health_port in (
            self.port,
            self.metrics_port,
        ):
            raise ValueError(
                f"health_port {self.security.health_port}: expected another than port and "
                "metrics_port"
            )
        host = self.metrics_host or self.host
        if self.debug and not listens_on_own(host):
            raise ValueError(
                f"debug: expected metrics_host 127.0.0.1, or 0.0.0.0 for all, not {host}, for only "
                "this machine is answered"
            )
        others = (self.port, self.metrics_port, self.security.health_port)
        if self.ui is not None and self.ui.port and self.ui.port in others:
            raise ValueError(
                f"ui.port {self.ui.port}: expected another than port, metrics_port and health_port"
            )
        if self.max_image_bytes > self.max_message_bytes:
            raise ValueError(
                f"max_image_bytes {self.max_image_bytes}: expected at most max_message_bytes, "
                f"{self.max_message_bytes}"
            )
        return self
