# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roots in the trust store of the system, for programs that read nothing else."""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass

from ..transaction import files
from ..transaction.commands import run_command
from ..transaction.state import Command
from . import x509
from .model import Authority, CertificateError

SECONDS = 120.0
OWN = re.compile(r"bulwark-[a-z][a-z0-9_-]*-[0-9a-f]{16}\.crt")


@dataclass(frozen=True)
class Place:
    """Where a family of operating systems keeps what the administrator adds, and what programs read."""

    directory: str
    bundle: str
    command: tuple[str, ...]


PLACES = (
    Place(
        "/usr/local/share/ca-certificates",
        "/etc/ssl/certs/ca-certificates.crt",
        # Not --fresh: it takes every CA away for a moment. What a root that is gone leaves is a link to nothing.
        ("/usr/sbin/update-ca-certificates",),
    ),
    Place(
        "/etc/pki/ca-trust/source/anchors",
        "/etc/pki/tls/certs/ca-bundle.crt",
        ("/usr/bin/update-ca-trust", "extract"),
    ),
)


def wished(authorities: t.Iterable[Authority]) -> dict[str, bytes]:
    """Return the files that should be there, by name; one root each, as Debian wants it."""
    return {
        f"bulwark-{authority.name}-{x509.parse_chain(root)[0].fingerprint[:16]}.crt": root
        for authority in authorities
        if authority.system_trust
        for root in x509.split_certificates(authority.trust.encode())
    }


class SystemTrust:
    """The trust store of this host. Raises CertificateError."""

    def __init__(self, places: t.Sequence[Place] = PLACES) -> None:
        self.place = next((place for place in places if os.path.exists(place.command[0])), None)

    def reasons(self, authorities: t.Sequence[Authority]) -> list[str]:
        """Return one clause for each root that is not as wished."""
        if not any(authority.system_trust for authority in authorities) and not self.own():
            return []
        x509.require()
        roots = wished(authorities)
        bundle = self._bundle()
        missing = [
            name for name, root in roots.items() if self._read(name) != root or b"".join(root.split()) not in bundle
        ]
        return [
            *(f"the system does not trust {x509.parse_chain(roots[name])[0].subject}" for name in missing),
            *(f"the system trusts {name}, which no issuer wishes any more" for name in self.own() if name not in roots),
        ]

    def apply(self, authorities: t.Sequence[Authority]) -> None:
        """Add and take away roots, and let the system rebuild what programs read."""
        if self.place is None:
            raise CertificateError("this host has no trust store of the system; install the package ca-certificates")
        roots = wished(authorities)
        try:
            files.make_directories(self.place.directory)
            for name, root in roots.items():
                if self._read(name) != root:
                    files.write_file(f"{self.place.directory}/{name}", root, 0o644, os.geteuid(), os.getegid())
            with files.directory(self.place.directory) as descriptor:
                for name in self.own():
                    if name not in roots:
                        files.remove_at(descriptor, name)
        except OSError as error:
            raise CertificateError(f"{self.place.directory}: {error.strerror or error}") from error
        done, line = run_command(Command(self.place.command, timeout_seconds=SECONDS))
        if not done:
            raise CertificateError(f"{' '.join(self.place.command)} fails: {line}")
        left = self.reasons(authorities)
        if left:
            raise CertificateError(f"{' '.join(self.place.command)} ran, and still {', '.join(left)}")

    def own(self) -> list[str]:
        """Return the files that this collection added."""
        try:
            return (
                sorted(name for name in os.listdir(self.place.directory) if OWN.fullmatch(name)) if self.place else []
            )
        except FileNotFoundError:
            return []

    def _read(self, name: str) -> bytes | None:
        try:
            return files.read_file(f"{self.place.directory}/{name}") if self.place else None
        except OSError:
            return None

    def _bundle(self) -> bytes:
        """Return what programs read, without the blanks in which bundles differ."""
        try:
            # On the Red Hat family it is a link of the system's own.
            with open(self.place.bundle if self.place else os.devnull, "rb") as file:
                return b"".join(file.read().split())
        except OSError:
            return b""
