# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Arm a rollback with systemd: a transient timer for the window, and a guard for a restart within it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from . import files
from .commands import run_command
from .state import Command, TransactionError

UNIT_DIRECTORY = "/etc/systemd/system"
GUARD = "bulwark-transaction-guard.service"
# How long "systemctl start" may wait for a whole rollback.
ROLLBACK_SECONDS = 300.0
QUICK_SECONDS = 30.0


class Systemd(Protocol):
    """What the engine needs of systemd."""

    def refusal(self) -> str:
        """Return why no rollback can be armed here, or ""."""

    def arm(self, unit: str, argv: Sequence[str], seconds: float) -> None:
        """Start a timer that runs argv after seconds, and check that it is armed. Raises TransactionError."""

    def disarm(self, unit: str) -> None:
        """Stop the timer; a rollback that runs already is not touched."""

    def start(self, unit: str) -> bool:
        """Start the timer's service now and wait for its end. False when it could not be started."""

    def install_guard(self, root: str) -> None:
        """Make sure that a restart finds the guard."""


def unit_name(transaction_id: str) -> str:
    return f"bulwark-rollback-{transaction_id}"


def interpreter() -> str:
    return sys.executable or "/usr/bin/python3"


def guard_unit(root: str, python: str) -> str:
    """Return the boot guard. It acts before the network and before anything that the engine's users change."""
    return f"""\
[Unit]
Description=Roll back a change that was not confirmed before the restart
ConditionPathExists={root}/pending
DefaultDependencies=no
After=local-fs.target
Before=network-pre.target ufw.service firewalld.service nftables.service
Before=ssh.service ssh.socket sshd.service sshd.socket sysinit.target shutdown.target
Wants=network-pre.target
Conflicts=shutdown.target

[Service]
Type=oneshot
ExecStart={python} -I {root}/pending/runner.pyz restore --root {root} --reason boot
TimeoutStartSec=300

[Install]
WantedBy=sysinit.target
"""


class LocalSystemd:
    """The running systemd of this host."""

    def __init__(self, unit_directory: str = UNIT_DIRECTORY) -> None:
        self.unit_directory = unit_directory

    def refusal(self) -> str:
        if Path("/run/systemd/system").is_dir():
            return ""
        return "systemd is not the init of this host, so no rollback can be armed and nothing was changed"

    def arm(self, unit: str, argv: Sequence[str], seconds: float) -> None:
        # systemd may be a minute late unless the accuracy is asked for.
        command = (
            "systemd-run", "--quiet", "--collect", f"--unit={unit}", f"--on-active={seconds:.1f}s",
            "--timer-property=AccuracySec=100ms", "--service-type=oneshot",
            "--description=Roll back a change that was not confirmed", *argv,
        )  # fmt: skip
        started, line = run_command(Command(command, QUICK_SECONDS))
        if not started:
            raise TransactionError(f"the rollback timer could not be armed, so nothing was changed: {line}")
        active, line = run_command(Command(("systemctl", "is-active", f"{unit}.timer"), QUICK_SECONDS))
        if not active:
            raise TransactionError(f"the rollback timer is not armed ({line}), so nothing was changed")

    def disarm(self, unit: str) -> None:
        run_command(Command(("systemctl", "stop", f"{unit}.timer"), QUICK_SECONDS))

    def start(self, unit: str) -> bool:
        success, _line = run_command(Command(("systemctl", "start", f"{unit}.service"), ROLLBACK_SECONDS))
        return success

    def install_guard(self, root: str) -> None:
        content = guard_unit(root, interpreter()).encode()
        path = f"{self.unit_directory}/{GUARD}"
        try:
            current = files.read_file(path)
        except OSError:
            current = b""
        if current != content:
            files.write_file(path, content, 0o644, os.geteuid(), os.getegid())
        wants = f"{self.unit_directory}/sysinit.target.wants"
        os.makedirs(wants, mode=0o755, exist_ok=True)
        with files.directory(wants) as descriptor:
            try:
                linked = os.readlink(GUARD, dir_fd=descriptor)
            except OSError:
                linked = ""
            if linked != path:
                files.replace_link(descriptor, GUARD, path)
