"""Which addresses are this machine's own, so that nobody else reads what goes there."""

from __future__ import annotations

import ipaddress


def is_own(host: str) -> bool:
    """Whether a host's name or address means this machine, without asking DNS."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def listens_on_own(host: str) -> bool:
    """Whether what listens on an address can be reached at this machine's own, as far as that can
    be told without asking DNS."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return True
    return address.is_loopback or address.is_unspecified
