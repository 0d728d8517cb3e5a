"""What may be a secret, hidden in text that others read. The last line of defence: whoever writes
a message leaves secrets out of it, and this hides what still got in."""

from __future__ import annotations

import re

_HIDDEN = "***"
_SECRETS = (
    # Credentials in a URL: a password may hold an @, so up to the last one.
    (re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s'\"<>]*@"), rf"\1{_HIDDEN}@"),
    # Options of a URL, or of whatever else is spelt like one.
    (re.compile(r"((?:password|passwd|secret|token)=)[^\s&'\"]+", re.IGNORECASE), rf"\1{_HIDDEN}"),
    (re.compile(r"\b(compofa_[a-z0-9.-]+_)[A-Za-z0-9_-]{20,}"), rf"\1{_HIDDEN}"),
    (re.compile(r"\b(bearer )[^\s'\"]+", re.IGNORECASE), rf"\1{_HIDDEN}"),
)


def masked(text: str) -> str:
    """`text` without passwords in URLs and bearer tokens."""
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text
