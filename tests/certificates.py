"""Certificates for tests, made anew each time, as the files that gateways and clients read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

EXPIRED = datetime.now(UTC) - timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    cert: Path
    key: Path


class Authority:
    """Whose certificate is in `ca`, a file in `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._ca, self._folder = trustme.CA(), folder
        self.ca = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca))

    def issue(
        self,
        *names: str,
        common_name: str | None = None,
        not_after: datetime | None = None,
        into: Pair | None = None,
    ) -> Pair:
        """For these names, in files of its own or `into` those of another."""
        made = self._ca.issue_cert(*names, common_name=common_name, not_after=not_after)
        stem = (names[0] if names else common_name or "nobody").replace("/", "-")
        pair = into or Pair(self._folder / f"{stem}.pem", self._folder / f"{stem}-key.pem")
        pair.cert.write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
        pair.key.write_bytes(made.private_key_pem.bytes())
        return pair
