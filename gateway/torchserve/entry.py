"""What TorchServe imports from an archive of a whole family: the gateway's handler.

Travels in the archive as its only module. The rest comes from compofa, which has to be installed
in the Python that TorchServe's workers run.
"""

from __future__ import annotations

try:
    from gateway.torchserve.family import FamilyHandler
except ImportError as error:  # as such TorchServe would take it for a handler of its own
    raise RuntimeError(
        "this archive needs compofa in the Python that TorchServe runs: pip install compofa "
        f"({error})"
    ) from None


class Family(FamilyHandler):
    """The only class here: TorchServe looks for one."""
