# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The SSH session that carries the running module."""

from __future__ import annotations

import ipaddress
import os
import pwd
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

MAXIMUM_ANCESTORS = 64


@dataclass(frozen=True)
class SshSession:
    client_address: str
    client_port: int
    server_address: str
    server_port: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def plain_address(text: str) -> str:
    """Return an address without IPv6 zone and without the mapping of IPv4 into IPv6. Raises ValueError."""
    address = ipaddress.ip_address(text.split("%", 1)[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


def parse_connection(value: str) -> SshSession | None:
    """Parse SSH_CONNECTION: client address, client port, server address, server port."""
    words = value.split()
    if len(words) != 4:
        return None
    try:
        ports = [int(words[1]), int(words[3])]
        if not all(0 < port < 65536 for port in ports):
            return None
        return SshSession(plain_address(words[0]), ports[0], plain_address(words[2]), ports[1])
    except ValueError:
        return None


def ssh_session(proc: str = "/proc", process: int | None = None) -> SshSession | None:
    """Return the session that this process runs in, or None when it was not started over SSH.

    sudo drops SSH_CONNECTION from the environment, so the ancestors are asked as well. The nearest one counts.
    """
    start = os.getpid() if process is None else process
    for ancestor in _ancestors(proc, start):
        value = _environment(proc, ancestor).get("SSH_CONNECTION")
        session = parse_connection(value) if value else None
        if session is not None:
            return session
    return None


def session_owner(proc: str = "/proc", process: int | None = None) -> int:
    """Return the uid of the user whose SSH login carries this process, -1 if none does.

    sudo changes both environment and user, so the outermost process of the session is asked.
    """
    owner = -1
    for ancestor in _ancestors(proc, os.getpid() if process is None else process):
        if "SSH_CONNECTION" in _environment(proc, ancestor):
            owner = _owner(proc, ancestor)
    return owner


def connecting_user() -> str:
    """Return the name of the user whose SSH login carries this process, empty if none does."""
    owner = session_owner()
    try:
        return pwd.getpwuid(owner).pw_name if owner >= 0 else ""
    except KeyError:
        return ""


def _owner(proc: str, process: int) -> int:
    try:
        return os.stat(f"{proc}/{process}").st_uid
    except OSError:
        return -1


def _ancestors(proc: str, process: int) -> Iterator[int]:
    for _step in range(MAXIMUM_ANCESTORS):
        if process < 1:
            return
        yield process
        try:
            with open(f"{proc}/{process}/stat", encoding="utf-8", errors="replace") as stat:
                # The command name may hold spaces and parentheses; the parent follows the last one.
                process = int(stat.read().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return


def _environment(proc: str, process: int) -> dict[str, str]:
    try:
        with open(f"{proc}/{process}/environ", "rb") as environ:
            pairs = environ.read().decode("utf-8", "surrogateescape").split("\0")
    except OSError:
        return {}
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)
