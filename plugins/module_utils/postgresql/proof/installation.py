# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host keeps to look at its cluster alone: policy, program, service and timer."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import typing as t
from dataclasses import dataclass

from ...transaction import files
from ...transaction.commands import run_command
from ...transaction.state import Command
from ..server import Refused
from . import policy, units
from .on_host import METRICS_FILE

PROGRAM = "/usr/local/sbin/bulwark-postgresql-proof"
UNITS = "/etc/systemd/system"
SECONDS = 60.0
Wished = dict[str, tuple[bytes, int]]


@dataclass(frozen=True)
class Difference:
    """Files by path, before and after; units as text, all else by its digest. idle: the timer does not wait."""

    before: dict[str, str]
    after: dict[str, str]
    idle: bool

    def __bool__(self) -> bool:
        return self.idle or self.before != self.after


def wished(kept: policy.Wish, program: bytes, interval_minutes: int, alarm_units: t.Sequence[str]) -> Wished:
    """Return content and mode of each file by its path."""
    made = units.render(PROGRAM, interval_minutes, kept["metrics_directory"], alarm_units)
    return {
        policy.POLICY: (policy.dump(kept), 0o600),
        PROGRAM: (program, 0o755),
        **{f"{UNITS}/{name}": (content.encode(), 0o644) for name, content in made.items()},
    }


def difference(wish: Wished) -> Difference:
    """Return what is not as it should be; without a wish, what is left. Raises Refused without systemd."""
    if not os.path.isdir("/run/systemd/system"):
        raise Refused("this host is not run by systemd, and the timer needs it; set postgresql_proof to false")
    paths = [policy.POLICY, PROGRAM, *(f"{UNITS}/{name}" for name in (units.SERVICE, units.TIMER))]
    differing = [path for path in paths if not _same(path, wish.get(path))]
    return Difference(
        {path: _shown(path, _content(path)) for path in differing},
        {path: _shown(path, wish[path][0] if path in wish else None) for path in differing},
        bool(wish) and not _waits(),
    )


def apply(wish: Wished, found: Difference) -> None:
    """Write what differs, and let the timer wait. Raises Refused."""
    for path in found.before:
        content, mode = wish[path]
        with _told(path):
            files.make_directories(path.rpartition("/")[0])
            files.write_file(path, content, mode, 0, 0)
    _systemctl("daemon-reload")
    _systemctl("enable", units.TIMER)
    _systemctl("restart", units.TIMER)


def remove(found: Difference) -> None:
    """Take everything away. Raises Refused."""
    if f"{UNITS}/{units.TIMER}" in found.before:
        _systemctl("disable", "--now", units.TIMER)
    with contextlib.suppress(Refused, OSError):
        directory = policy.load(files.read_file(policy.POLICY), policy.POLICY).get("metrics_directory")
        if directory:
            _remove(f"{directory}/{METRICS_FILE}")
    for path in found.before:
        _remove(path)
    _systemctl("daemon-reload")


def _remove(path: str) -> None:
    parent, _slash, name = path.rpartition("/")
    with _told(path), contextlib.suppress(FileNotFoundError), files.directory(parent) as descriptor:
        files.remove_at(descriptor, name)


def _waits() -> bool:
    return all(run_command(Command(("systemctl", word, units.TIMER)))[0] for word in ("is-enabled", "is-active"))


def _systemctl(*words: str) -> None:
    done, line = run_command(Command(("systemctl", *words), timeout_seconds=SECONDS))
    if not done:
        raise Refused(f"systemctl {' '.join(words)} fails: {line}")


def _same(path: str, wish: tuple[bytes, int] | None) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return wish is None
    access = (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)
    return wish is not None and access == (wish[1], 0, 0) and _content(path) == wish[0]


def _content(path: str) -> bytes | None:
    try:
        return files.read_file(path)
    except OSError:
        return None


def _shown(path: str, content: bytes | None) -> str:
    if content is None:
        return ""
    if path.startswith(f"{UNITS}/"):
        return content.decode(errors="replace")
    return f"SHA-256 {hashlib.sha256(content).hexdigest()}"


@contextlib.contextmanager
def _told(path: str) -> t.Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Refused(f"{path}: {error.strerror or error}") from error
