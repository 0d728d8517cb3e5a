"""Which addresses are this machine's own, so that nobody else reads what goes there."""

from __future__ import annotations

import ipaddress


def is_own(host: str) -> bool:
    """Whether a host's name or address means this machine, without asking DNS."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
