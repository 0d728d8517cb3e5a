"""What a request is called in the logs: the caller's own name for it, or one made up here."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable

HEADER = "x-request-id"  # as proxies and service meshes spell it, in metadata both ways
_OURS_BITS = 64
_USABLE = re.compile(r"[!-~]{1,128}")  # one short word: it is repeated in a header and in every log


def request_id(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The caller's name for the request that `metadata` came with; a random one where it has none
    that can be used.

    >>> request_id([("x-request-id", "order-17")])
    'order-17'
    """
    for name, value in metadata:
        if name == HEADER and isinstance(value, str) and _USABLE.fullmatch(value):
            return value
    # Only to tell requests apart; the system's own source would be a call of it for each.
    return f"{random.getrandbits(_OURS_BITS):016x}"
