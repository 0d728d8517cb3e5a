"""Whether a browser's request comes from the live page itself, and not from somebody else's page.

The page is on this machine alone, but a browser that is on this machine too runs everybody's pages.
One whose name its owner lets mean 127.0.0.1 (DNS rebinding) says so in `Host`; one that posts, or
opens streams, across origins does in `Origin` and `Sec-Fetch-Site`. Any port will do: it may be
forwarded.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from gateway.errors import GatewayError, shown

HOSTS = ("127.0.0.1", "localhost", "::1")
SAFE_METHODS = ("GET", "HEAD")
_OWN_SITE = ("same-origin", "none")  # none: whoever sits there typed it

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
"""What every answer says: nothing from elsewhere, nothing for elsewhere, nothing kept."""


class ForeignRequest(GatewayError):  # noqa: N818 - named for the answer it is
    """A browser was made to ask by a page that is not ours: says what gave it away."""

    code = "PERMISSION_DENIED"

    def __init__(self, header: str, value: object, expected: str) -> None:
        super().__init__(f"{header}: expected {expected}, got {shown(value)}")


def check(method: str, headers: Mapping[str, str], *, is_navigation: bool) -> None:
    """Raise `ForeignRequest` where another site asks. It may link to the page (`is_navigation`)."""
    host = headers.get("Host", "")
    if _hostname(f"//{host}") not in HOSTS:
        raise ForeignRequest("Host", host, f"one of {', '.join(HOSTS)}")
    site = headers.get("Sec-Fetch-Site")  # browsers alone say it, and cannot be made not to
    if site is not None and site not in _OWN_SITE and not is_navigation:
        raise ForeignRequest("Sec-Fetch-Site", site, "same-origin")
    if method in SAFE_METHODS:
        return
    origin = headers.get("Origin")
    if origin is None or origin.partition("://")[2] != host:
        raise ForeignRequest("Origin", origin, "the page's own, which browsers send")


def _hostname(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises where it is no number
    except ValueError:
        return None
    return None if "@" in parts.netloc else parts.hostname
