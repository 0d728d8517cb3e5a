"""Bearer tokens: made here, and kept as hashes.

A token is `compofa_NAME_SECRET`. The name says which hash to compare with, so that nothing has to
be looked up by what is secret; the prefix lets scanners find a token that was committed. The
secret has 256 random bits: a plain SHA-256 of it can be stored, for there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PREFIX = "compofa"
_LONGEST = 128  # characters of a token
_SECRET_BYTES = 32


def checked_name(name: str) -> str:
    """Raises `ValueError` for what cannot name a token."""
    if _NAME.fullmatch(name) is None:
        raise ValueError(
            f"name: expected at most 63 of a-z, 0-9, '.' and '-', beginning and ending with a "
            f"letter or digit, got {name[:80]!r}"
        )
    return name


def new_token(name: str) -> str:
    """A token that nobody else has. Raises `ValueError`."""
    return f"{_PREFIX}_{checked_name(name)}_{secrets.token_urlsafe(_SECRET_BYTES)}"


def name_in(token: str) -> str:
    """Whose token it says it is; empty where it is none."""
    prefix, *rest = token.split("_", 2)
    return rest[0] if prefix == _PREFIX and len(rest) == 2 and len(token) <= _LONGEST else ""


def digest_of(token: str) -> str:
    """What is kept of a token: `sha256:` and 64 hexadecimal digits."""
    return "sha256:" + hashlib.sha256(token.encode()).hexdigest()


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def same(digest: str, other: str) -> bool:
    """Whether two digests are the same, in a time that does not tell where they differ."""
    return hmac.compare_digest(digest, other)
