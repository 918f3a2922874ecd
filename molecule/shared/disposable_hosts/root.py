# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's own part of its root directory: name, addresses, keys."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from .common import run, write_file
from .image import ADMINISTRATOR
from .model import Host


def hosts_file(host: Host, members: Iterable[Host]) -> str:
    """/etc/hosts: itself, its group, the controller. sudo is slow without the own name."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    lines += [f"{address} {host.name}" for address in (host.ipv4, host.ipv6)]
    others = sorted((member for member in members if member.name != host.name), key=lambda member: member.numbers)
    lines += [f"{address} {other.name}" for other in others for address in (other.ipv4, other.ipv6)]
    lines += [f"{address} controller" for address in host.checkout.controller_addresses]
    return "".join(f"{line}\n" for line in lines)


def network_file(host: Host) -> str:
    """networkd's file; without duplicate address detection IPv6 is there at once."""
    sections = "".join(
        f"\n[Address]\nAddress={address}\nDuplicateAddressDetection=none\n" for address in host.interface_addresses
    )
    return (
        "[Match]\nName=host0 en* eth*\n\n"
        "[Network]\nLinkLocalAddressing=ipv6\nIPv6AcceptRA=no\n"
        f"Gateway={host.checkout.controller_addresses[0]}\n{sections}"
    )


def resolver_file() -> str:
    """The machine's resolver, the real one where a stub on loopback stands before it."""
    for path in (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf")):
        if path.exists():
            return path.read_text(encoding="utf-8")
    return ""


def personalise(root: Path, host: Host, members: Iterable[Host], public_key: str) -> None:
    """Make a root directory this host's."""
    write_file(root / "etc/hostname", f"{host.name}\n")
    write_file(root / "etc/hosts", hosts_file(host, members))
    write_file(root / "etc/resolv.conf", resolver_file())
    # Before systemd's own 80-container-host0.network, which would leave the host with link-local addresses only.
    write_file(root / "etc/systemd/network/10-disposable.network", network_file(host))
    run(["ssh-keygen", "-A", "-f", str(root)])
    home = root / "home" / ADMINISTRATOR
    owner = home.stat().st_uid
    for directory, user in ((root / "root/.ssh", 0), (home / ".ssh", owner)):
        directory.mkdir(mode=0o700, exist_ok=True)
        os.chown(directory, user, user)
        write_file(directory / "authorized_keys", public_key, 0o600, user)


def host_public_keys(root: Path) -> list[str]:
    """Type and key of each SSH host key."""
    files = sorted((root / "etc/ssh").glob("ssh_host_*_key.pub"))
    return [" ".join(file.read_text(encoding="ascii").split()[:2]) for file in files]


def known_hosts_lines(host: Host, keys: Iterable[str]) -> list[str]:
    names = ",".join([host.name, host.ipv4, host.ipv6, *host.extra_addresses])
    return [f"{names} {key}" for key in keys]
