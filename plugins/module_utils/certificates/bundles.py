# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file for each issuer with the roots that it stands for, for programs of this host that have no certificate."""

from __future__ import annotations

import os
import re
import typing as t

from ..transaction import files
from . import x509
from .facts import Facts
from .model import Authority, CertificateError

DIRECTORY = "/etc/bulwark/trust"
OWN = re.compile(r"[a-z][a-z0-9_-]{0,62}\.pem")


class Bundles:
    """The bundles of this host. Raises CertificateError."""

    def __init__(self, directory: str = DIRECTORY) -> None:
        self.directory = directory

    def reasons(self, authorities: t.Sequence[Authority]) -> list[str]:
        """Return one clause for each bundle that is not as wished."""
        wished = self._wished(authorities)
        return [
            *(f"{self._path(name)} is not that of {name}" for name in wished if self._read(name) != wished[name]),
            *(f"{self._path(name)} is of no issuer any more" for name in self._names() if name not in wished),
        ]

    def apply(self, authorities: t.Sequence[Authority]) -> None:
        wished = self._wished(authorities)
        try:
            if wished:
                files.make_directories(self.directory)
            for name, content in wished.items():
                if self._read(name) != content:
                    files.write_file(self._path(name), content, 0o644, os.geteuid(), os.getegid())
            gone = [name for name in self._names() if name not in wished]
            if gone:
                with files.directory(self.directory) as descriptor:
                    for name in gone:
                        files.remove_at(descriptor, f"{name}.pem")
        except OSError as error:
            raise CertificateError(f"{self.directory}: {error.strerror or error}") from error

    def roots(self) -> dict[str, list[Facts]]:
        """Return the roots in each bundle, by the name of the issuer."""
        return {name: x509.parse_chain(self._read(name) or b"") for name in self._names()}

    @staticmethod
    def _wished(authorities: t.Iterable[Authority]) -> dict[str, bytes]:
        return {authority.name: authority.trust.encode() for authority in authorities if authority.trust}

    def _path(self, name: str) -> str:
        return f"{self.directory}/{name}.pem"

    def _names(self) -> list[str]:
        try:
            return sorted(name[: -len(".pem")] for name in os.listdir(self.directory) if OWN.fullmatch(name))
        except FileNotFoundError:
            return []

    def _read(self, name: str) -> bytes | None:
        try:
            return files.read_file(self._path(name))
        except OSError:
            return None
