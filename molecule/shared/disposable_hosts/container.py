# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Container hosts: systemd-nspawn."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from . import root
from .common import run, write_file
from .model import Host

# Version 2 inside, whatever the machine itself has: Debian 13's systemd and Docker want nothing else.
ENVIRONMENT = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
INSTALL_TIMEOUT = 240


def systemd_outside() -> bool:
    return Path("/run/systemd/system").is_dir()


def _common(host: Host, tree: Path) -> list[str]:
    """systemd-nspawn puts a container into a scope of its own where systemd can make one."""
    return [
        "systemd-nspawn",
        "--quiet",
        "--register=no",
        *([] if systemd_outside() else ["--keep-unit"]),
        f"--directory={tree}",
        f"--machine={host.machine}",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
    ]


def install(host: Host, tree: Path, packages: Iterable[str]) -> None:
    """Install packages into a root directory that does not run yet: quick for a virtual machine, too."""
    policy = tree / "usr/sbin/policy-rc.d"
    write_file(policy, "#!/bin/sh\nexit 101\n", 0o755)
    write_file(tree / "etc/resolv.conf", root.resolver_file())
    apt = ["apt-get", "--quiet", "--yes", "-o", "DPkg::Use-Pty=0", "--no-install-recommends", "install", *packages]
    run(
        [*_common(host, tree), "--pipe", "--setenv=DEBIAN_FRONTEND=noninteractive", "--", *apt], timeout=INSTALL_TIMEOUT
    )
    policy.unlink()


def command(host: Host, tree: Path) -> list[str]:
    """The arguments of systemd-nspawn for the running host."""
    docker = host.directory / "docker"
    docker.mkdir(exist_ok=True)
    return [
        *_common(host, tree),
        "--boot",
        f"--hostname={host.name}",
        f"--network-bridge={host.checkout.bridge}",
        "--capability=all",
        "--system-call-filter=add_key keyctl bpf",
        # Docker's storage does not work on top of an overlay.
        f"--bind={docker}:/var/lib/docker",
        "--console=read-only",
    ]
