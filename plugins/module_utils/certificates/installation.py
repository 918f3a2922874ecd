# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host keeps to look after its certificates alone: the policy, a program, and units that run it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import subprocess
import sys
import typing as t
from dataclasses import dataclass

from ..transaction import files
from ..transaction.commands import ENVIRONMENT, run_command
from ..transaction.state import Command
from . import policy, timers
from .model import CertificateError, Raw
from .on_host import METRICS_FILE
from .store import ROOT

PYTHON = "/usr/bin/python3"
SYSTEMCTL = "systemctl"
SECONDS = 60.0
PROPERTIES = ("Id", "UnitFileState", "ActiveState", "NeedDaemonReload")


class Systemd(t.Protocol):
    """What is needed of systemd."""

    def is_there(self) -> bool:
        """Return whether it is the init of this host."""

    def idle(self, names: t.Sequence[str]) -> list[str]:
        """Return the timers that are not enabled, do not wait for their time, or whose file was not read yet."""

    def do(self, *words: str) -> None:
        """Call systemctl. Raises CertificateError."""


class LocalSystemd:
    """The running systemd of this host."""

    def is_there(self) -> bool:
        return os.path.isdir("/run/systemd/system")

    def idle(self, names: t.Sequence[str]) -> list[str]:
        try:
            done = subprocess.run(  # pylint: disable=ansible-bad-function  # there is no AnsibleModule here
                [SYSTEMCTL, "show", f"--property={','.join(PROPERTIES)}", "--", *names],
                stdin=subprocess.DEVNULL, capture_output=True, env=ENVIRONMENT, timeout=SECONDS, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CertificateError(f"systemctl cannot be run: {error}; timers need systemd") from error
        found = [
            dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
            for block in done.stdout.decode(errors="replace").split("\n\n")
        ]
        fine = {
            entry.get("Id", "")
            for entry in found
            if (entry.get("UnitFileState"), entry.get("ActiveState"), entry.get("NeedDaemonReload"))
            == ("enabled", "active", "no")
        }
        return [name for name in names if name not in fine]

    def do(self, *words: str) -> None:
        done, line = run_command(Command((SYSTEMCTL, *words), timeout_seconds=SECONDS))
        if not done:
            raise CertificateError(f"systemctl {' '.join(words)} fails: {line}")


@dataclass(frozen=True)
class Places:
    policy: str = policy.POLICY
    # Not below /var: what is run by root is watched like other programs.
    program: str = "/usr/local/lib/bulwark/certificates.pyz"
    units: str = "/etc/systemd/system"
    store: str = ROOT
    runtime: str = timers.RUNTIME


class Installation:
    """Policy, program and units of one host. program: the zip application. Raises CertificateError."""

    def __init__(
        self,
        program: bytes,
        places: Places | None = None,
        systemd: Systemd | None = None,
        owner: tuple[int, int] = (0, 0),
    ) -> None:
        self.program = program
        self.places = places or Places()
        self.systemd = systemd or LocalSystemd()
        self.uid, self.gid = owner

    def wished(self, arguments: Raw) -> dict[str, tuple[bytes, int]]:
        """Return content and mode of each file by its path; none if the host has no certificates."""
        if not arguments.get("certificates"):
            return {}
        units = timers.render(
            interpreter(),
            self.places.program,
            self.places.store,
            policy.metrics_directory(arguments),
            arguments.get("alarm_units") or (),
        )
        return {
            self.places.policy: (policy.pack(arguments), 0o600),
            self.places.program: (self.program, 0o644),
            **{f"{self.places.units}/{name}": (content.encode(), 0o644) for name, content in units.items()},
        }

    def reasons(self, arguments: Raw) -> list[str]:
        """Return one clause for each kind of difference; none where nothing can run a timer."""
        if not self.systemd.is_there():
            return []
        wished = self.wished(arguments)
        if not wished:
            left = self.left()
            return [f"this host has no certificates, and still {', '.join(left)}"] if left else []
        differing = self.differing(wished)
        idle = [] if differing else self.systemd.idle(timers.TIMERS)
        found = []
        if differing:
            found.append(
                f"what lets the host look after its certificates alone is not as it should be: {', '.join(differing)}"
            )
        if idle:
            found.append(f"{', '.join(idle)} does not wait for its time")
        return found

    def difference(self, arguments: Raw) -> tuple[dict[str, str], dict[str, str]]:
        """Return what changes, by path: units as they are, all else by its digest."""
        wished = self.wished(arguments)
        paths = self.differing(wished) if wished else self.left()
        before = {path: self._shown(path, self._content(path)) for path in paths}
        after = {path: self._shown(path, wished[path][0] if path in wished else None) for path in paths}
        return before, after

    def apply(self, arguments: Raw) -> None:
        """Bring files and timers to what is wished, and let the report tell how things are now."""
        wished = self.wished(arguments)
        if not self.systemd.is_there():
            return
        if not wished:
            if self.left():
                self.remove()
            return
        self._forget_metrics(policy.metrics_directory(arguments))
        differing = self.differing(wished)
        for path in differing:
            content, mode = wished[path]
            with _told(path):
                files.make_directories(path.rpartition("/")[0])
                files.write_file(path, content, mode, self.uid, self.gid)
        idle = self.systemd.idle(timers.TIMERS)
        if idle or any(path.startswith(f"{self.places.units}/") for path in differing):
            self.systemd.do("daemon-reload")
            self.systemd.do("enable", "--now", *timers.TIMERS)
        self.systemd.do("start", "--no-block", timers.service_name(timers.REPORT))

    def remove(self) -> None:
        """Take everything away; the policy last, because it says where the metrics are."""
        for name in (*timers.TIMERS, *timers.SERVICES):
            if os.path.exists(f"{self.places.units}/{name}"):
                self.systemd.do(*(("disable", "--now") if name in timers.TIMERS else ("stop",)), name)
        self._forget_metrics("")
        for path in sorted(self.left(), key=lambda path: path == self.places.policy):
            parent, _slash, name = path.rpartition("/")
            with _told(path), contextlib.suppress(FileNotFoundError), files.directory(parent) as descriptor:
                files.remove_at(descriptor, name)
        self.systemd.do("daemon-reload")
        for name in timers.SERVICES:
            # One that never failed is not known any more.
            with contextlib.suppress(CertificateError):
                self.systemd.do("reset-failed", name)

    def left(self) -> list[str]:
        """Return what is there of ours."""
        names = [timers.ALARM, *timers.TIMERS, *timers.SERVICES]
        paths = [f"{self.places.units}/{name}" for name in names]
        paths += [self.places.program, self.places.policy, self.places.runtime]
        return [path for path in paths if os.path.lexists(path)]

    def differing(self, wished: t.Mapping[str, tuple[bytes, int]]) -> list[str]:
        return [path for path, (content, mode) in wished.items() if not self._same(path, content, mode)]

    def _same(self, path: str, content: bytes, mode: int) -> bool:
        try:
            found = os.lstat(path)
        except OSError:
            return False
        access = (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)
        return access == (mode, self.uid, self.gid) and self._content(path) == content

    def _content(self, path: str) -> bytes | None:
        try:
            return files.read_file(path)
        except OSError:
            return None

    def _shown(self, path: str, content: bytes | None) -> str:
        if content is None:
            return ""
        if path.startswith(f"{self.places.units}/"):
            return content.decode(errors="replace")
        return f"SHA-256 {hashlib.sha256(content).hexdigest()}"

    def _forget_metrics(self, directory: str) -> None:
        """Remove the metrics that lie where they are not wished any more: nobody would renew them."""
        with contextlib.suppress(CertificateError):
            before = policy.metrics_directory(policy.read(self.places.policy))
            if before and before != directory:
                with contextlib.suppress(OSError), files.directory(before) as parent:
                    files.remove_at(parent, METRICS_FILE)


def interpreter() -> str:
    """Return the Python that runs this module; by the name that stays when the system brings another version."""
    same = os.path.realpath(PYTHON) == os.path.realpath(sys.executable or PYTHON)
    return PYTHON if same else sys.executable


@contextlib.contextmanager
def _told(path: str) -> t.Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror or error}") from error
