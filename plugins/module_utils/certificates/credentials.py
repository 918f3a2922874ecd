# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys and certificates as systemd credentials, for services whose user must not read files of root.

systemd hands them over when it starts a unit (systemd.exec(5), LoadCredential), so a new one needs a restart.
"""

from __future__ import annotations

import os
import typing as t

from ..transaction import files
from ..transaction.commands import run_command
from ..transaction.state import Command
from .model import CertificateError
from .store import FULL_CHAIN, KEY, TRUST, Store

if t.TYPE_CHECKING:
    from .observe import State

UNITS = "/etc/systemd/system"
HANDED_OVER = "/run/credentials"
DROP_IN = "50-bulwark-certificates.conf"
RELOAD = ("systemctl", "daemon-reload")
SECONDS = 60.0


class Credentials:
    """What systemd hands over to the services of one host. Raises CertificateError."""

    def __init__(self, store: Store, units: str = UNITS, handed_over: str = HANDED_OVER) -> None:
        self.store = store
        self.units = units
        self.handed_over = handed_over

    def missing(self, unit: str, states: t.Sequence[State], running: bool) -> list[str]:
        """Return one clause for each thing that a unit should be given and is not."""
        if self._drop_in(unit) != self._wished(unit, states):
            return [f"systemd does not give {unit} the credentials that it should"]
        if not running:
            return []
        return [
            f"{unit} was not given what is deployed as {name}"
            for name, path in self._sources(unit, states)
            if self._read(f"{self.handed_over}/{unit}/{name}") != self._read(os.path.realpath(path))
        ]

    def used(self, unit: str, states: t.Sequence[State]) -> bool:
        return bool(self._sources(unit, states))

    def install(self, units: t.Iterable[str], states: t.Sequence[State]) -> None:
        """Tell systemd what to hand over when it starts units."""
        try:
            for unit in units:
                wished = self._wished(unit, states)
                if self._drop_in(unit) == wished:
                    continue
                directory = f"{self.units}/{unit}.d"
                if wished is None:
                    with files.directory(directory) as descriptor:
                        files.remove_at(descriptor, DROP_IN)
                else:
                    files.make_directories(directory)
                    files.write_file(f"{directory}/{DROP_IN}", wished, 0o644, self.store.uid, self.store.gid)
        except OSError as error:
            raise CertificateError(f"{self.units}: {error.strerror or error}") from error
        done, line = run_command(Command(RELOAD, timeout_seconds=SECONDS))
        if not done:
            raise CertificateError(f"{' '.join(RELOAD)} fails: {line}")

    def _sources(self, unit: str, states: t.Sequence[State]) -> list[tuple[str, str]]:
        """Return the name of each credential of a unit, and the file that it comes from."""
        return [
            (f"{state.name}-{file}", self.store.path(state.name, *place))
            for state in states
            if any(service.unit == unit and service.credentials for service in state.wished.services)
            for file, place in ((KEY, ("current", KEY)), (FULL_CHAIN, ("current", FULL_CHAIN)), (TRUST, (TRUST,)))
            if file != TRUST or state.authority.trust
        ]

    def _wished(self, unit: str, states: t.Sequence[State]) -> bytes | None:
        lines = [f"LoadCredential={name}:{path}\n" for name, path in self._sources(unit, states)]
        return "".join(["[Service]\n", *lines]).encode() if lines else None

    def _drop_in(self, unit: str) -> bytes | None:
        return self._read(f"{self.units}/{unit}.d/{DROP_IN}")

    @staticmethod
    def _read(path: str) -> bytes | None:
        try:
            return files.read_file(path)
        except OSError:
            return None
