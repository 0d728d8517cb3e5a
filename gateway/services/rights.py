"""Which methods are for everybody, and what the others take.

Health and the protocols' own probes say no more than whether the gateway lives, and those that
ask them often cannot show who they are. Reflection describes what is published anyway, but is work
to do for strangers: it takes no right, and somebody who is known.
"""

from __future__ import annotations

from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from gateway.security.identities import Right
from gateway.services import native, open_inference, torchserve

OPEN_METHODS = frozenset(
    {
        *(f"/{health.SERVICE_NAME}/{name}" for name in ("Check", "Watch", "List")),
        *(f"/{open_inference.SERVICE}/{name}" for name in open_inference.PROBES),
        *(f"/{torchserve.SERVICE}/{name}" for name in torchserve.PROBES),
    }
)
RIGHTS: dict[str, Right | None] = {
    f"/{native.SERVICE}/FetchSubnet": "fetch",
    f"/{native.SERVICE}/ReportLatency": "report",
    f"/{reflection.SERVICE_NAME}/ServerReflectionInfo": None,
}
"""What a method takes. Any other takes `infer`."""
