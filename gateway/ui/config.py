"""What a gateway is told of its live page."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class UiConfig(BaseModel):
    """The page is served to this machine alone, whatever the gateway's host is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=8080, description="HTTP on 127.0.0.1; 0 takes a free one"
    )
    max_viewers: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=16, description="pages that are told what happens, at once"
    )
