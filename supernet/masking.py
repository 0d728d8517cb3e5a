"""What may be a secret, hidden in text that others read. The last line of defence: whoever writes
a message leaves secrets out of it, and this hides what still got in."""

from __future__ import annotations

import re

_HIDDEN = "***"
_TOKEN = re.compile(r"[^\s'\"<>]+")
_SECRETS = (
    # Options of a URL, or of whatever else is spelt like one.
    (re.compile(r"((?:password|passwd|secret|token)=)[^\s&'\"]+", re.IGNORECASE), rf"\1{_HIDDEN}"),
    (re.compile(r"\b(compofa_[a-z0-9.-]+_)[A-Za-z0-9_-]{20,}"), rf"\1{_HIDDEN}"),
    (re.compile(r"\b(bearer )[^\s'\"]+", re.IGNORECASE), rf"\1{_HIDDEN}"),
)


def masked(text: str) -> str:
    """`text` without passwords in URLs and bearer tokens. Takes time in proportion to its length:
    callers may choose what is in it."""
    text = _TOKEN.sub(_without_credentials, text)
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text


def _without_credentials(token: re.Match[str]) -> str:
    """A URL's credentials hidden: a password may hold an @, so up to the last one."""
    scheme, mark, rest = token[0].partition("://")
    _, at, host = rest.rpartition("@")
    return f"{scheme}{mark}{_HIDDEN}@{host}" if at else token[0]
