# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The services that read certificates: their state, the check of their configuration, reload and restart."""

from __future__ import annotations

import subprocess
import typing as t
from dataclasses import dataclass

from ..transaction.commands import ENVIRONMENT, run_command
from ..transaction.state import Command
from .model import RESTART, CertificateError, Service

SYSTEMCTL = "systemctl"
SECONDS = 120.0
SAID_AT_MOST = 500


@dataclass(frozen=True)
class Unit:
    exists: bool
    active: bool
    can_reload: bool
    # Its file changed, and systemd has not read it since.
    stale: bool = False


def units(names: t.Iterable[str]) -> dict[str, Unit]:
    """Return the state of each unit, with one call for all of them."""
    wanted = sorted(set(names))
    if not wanted:
        return {}
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function  # there is no AnsibleModule here
            [SYSTEMCTL, "show", "--property=Id,LoadState,ActiveState,CanReload,NeedDaemonReload", "--", *wanted],
            stdin=subprocess.DEVNULL, capture_output=True, env=ENVIRONMENT, timeout=SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CertificateError(
            f"systemctl cannot be run: {error}; the services of certificates need systemd"
        ) from error
    blocks = [
        dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        for block in done.stdout.decode(errors="replace").split("\n\n")
        if block.strip()
    ]
    if done.returncode or len(blocks) != len(wanted):
        raise CertificateError(f"systemctl does not say how {', '.join(wanted)} are: {done.stderr.decode().strip()}")
    return {
        name: Unit(
            exists=block.get("LoadState") == "loaded",
            active=block.get("ActiveState") in ("active", "reloading"),
            can_reload=block.get("CanReload") == "yes",
            stale=block.get("NeedDaemonReload") == "yes",
        )
        for name, block in zip(wanted, blocks)
    }


def check(service: Service) -> str:
    """Return why the program does not accept its configuration, empty if it does or is not asked."""
    if not service.check:
        return ""
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function  # there is no AnsibleModule here
            service.check, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=ENVIRONMENT,
            cwd="/", timeout=SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{service.check[0]} cannot be run: {error}"
    # The line that says what is wrong may be any of them.
    said = ", ".join(line.strip() for line in done.stdout.decode(errors="replace").splitlines() if line.strip())
    return (
        "" if done.returncode == 0 else f"{' '.join(service.check)} fails: {said[:SAID_AT_MOST] or 'it says nothing'}"
    )


def way(service: Service, unit: Unit) -> str:
    """Return how a service is brought to read its certificate anew."""
    return RESTART if service.on_change == RESTART or not unit.can_reload else service.on_change


def load(service: Service, unit: Unit) -> str:
    """Let a service read its certificate anew; returns why it did not, empty if it did."""
    verb = way(service, unit)
    done, line = run_command(Command((SYSTEMCTL, verb, "--", service.unit), timeout_seconds=SECONDS))
    return "" if done else f"systemctl {verb} {service.unit} fails: {line}"


def call(option: str, argv: tuple[str, ...]) -> str:
    """Run a command of the user; returns why it failed, empty if it did not."""
    done, line = run_command(Command(argv, timeout_seconds=SECONDS))
    return "" if done else f"{option} ({' '.join(argv)}) fails: {line}"
