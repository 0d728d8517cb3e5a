"""Who may call, and what: the lines of the file that `--tokens` names.

    # name          how they show who they are        what they may
    edge-7          sha256:9f86d0818…                 infer,report
    device-9.local  certificate                       infer
    *               certificate                       infer,fetch

A name may have several tokens, so that a new one can be used before the old one goes. A
certificate's names are its alternative names and then its common name; the first that has a line
counts, and otherwise the line of `*`. Knows neither gRPC nor TLS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from gateway.errors import Unauthenticated
from gateway.security import tokens

Right = Literal["infer", "fetch", "report"]
RIGHTS: tuple[Right, ...] = ("infer", "fetch", "report")
CERTIFICATE = "certificate"
ANY = "*"
_COLUMNS = f"expected NAME, then sha256:… or {CERTIFICATE}, then some of {','.join(RIGHTS)}"


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody who is known, and what they may."""

    name: str
    rights: frozenset[Right]


@dataclass(frozen=True, slots=True)
class Identities:
    """All who are known: by name the hashes of their tokens, and by name those who have
    certificates. Without a line a certificate opens what every caller may do."""

    tokens: Mapping[str, Sequence[tuple[str, Identity]]] = field(default_factory=dict)
    certificates: Mapping[str, frozenset[Right]] = field(default_factory=dict)

    def by_token(self, token: str) -> Identity:
        """Raises `Unauthenticated`."""
        given, found = tokens.digest_of(token), None
        for digest, identity in self.tokens.get(tokens.name_in(token), ()):
            if tokens.same(given, digest):
                found = identity
        if found is None:
            raise Unauthenticated("authorization: the token is not known")
        return found

    def by_certificate(self, names: Sequence[str]) -> Identity:
        """Of a certificate that TLS has taken. Raises `Unauthenticated` where it has no name."""
        for name in names:
            if name in self.certificates and name != ANY:
                return Identity(name, self.certificates[name])
        if not names:
            raise Unauthenticated("the client's certificate has no name")
        return Identity(names[0], self.certificates.get(ANY, frozenset({"infer"})))


def read_identities(path: Path) -> Identities:
    """Raises `ValueError` naming the line, without what is in it: it may be a token. `OSError`."""
    by_token: dict[str, list[tuple[str, Identity]]] = {}
    by_certificate: dict[str, frozenset[Right]] = {}
    try:
        lines = path.read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected text in UTF-8") from None
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            name, how, rights = _columns(words)
            if how != CERTIFICATE:
                identity = Identity(tokens.checked_name(name), rights)
                by_token.setdefault(name, []).append((how, identity))
            elif name in by_certificate:
                raise ValueError("the name has a line already")
            else:
                by_certificate[name] = rights
        except ValueError as error:
            raise ValueError(f"{path}: line {number}: {error}") from None
    return Identities(by_token, by_certificate)


def _columns(words: list[str]) -> tuple[str, str, frozenset[Right]]:
    """Name, digest or `certificate`, rights. Raises `ValueError`."""
    if len(words) != 3 or not (words[1] == CERTIFICATE or tokens.is_digest(words[1])):
        raise ValueError(_COLUMNS)
    rights = words[2].split(",")
    if not set(rights) <= set(RIGHTS):
        raise ValueError(_COLUMNS)
    return words[0], words[1], frozenset(cast("list[Right]", rights))


def line_of(name: str, token: str, rights: Sequence[Right]) -> str:
    """The line that lets whoever has the token in."""
    return f"{name} {tokens.digest_of(token)} {','.join(rights)}"
