# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Container hosts: systemd-nspawn."""

from __future__ import annotations

from pathlib import Path

from .model import Host

# Version 2 inside, whatever the machine itself has: Debian 13's systemd and Docker want nothing else.
ENVIRONMENT = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}


def systemd_outside() -> bool:
    return Path("/run/systemd/system").is_dir()


def command(host: Host, tree: Path) -> list[str]:
    """The arguments of systemd-nspawn; it puts the container into a scope of its own where systemd can make one."""
    docker = host.directory / "docker"
    docker.mkdir(exist_ok=True)
    return [
        "systemd-nspawn",
        "--quiet",
        "--boot",
        "--register=no",
        *([] if systemd_outside() else ["--keep-unit"]),
        f"--directory={tree}",
        f"--machine={host.machine}",
        f"--hostname={host.name}",
        f"--network-bridge={host.checkout.bridge}",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        "--capability=all",
        "--system-call-filter=add_key keyctl bpf",
        # Docker's storage does not work on top of an overlay.
        f"--bind={docker}:/var/lib/docker",
        "--console=read-only",
    ]
