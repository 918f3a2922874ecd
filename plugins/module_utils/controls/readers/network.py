# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sockets that wait for others."""

from __future__ import annotations

import ipaddress
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from ..host import Host
from ..model import Observation, Unreadable, item, observation
from ..parameters import Parameter, Parameters
from ..reader import Reader

# The state of a socket that waits: LISTEN for TCP, CLOSE (bound, to nobody in particular) for UDP.
TABLES = (("tcp", "tcp", "0A"), ("tcp6", "tcp", "0A"), ("udp", "udp", "07"), ("udp6", "udp", "07"))


@dataclass(frozen=True)
class Listener:
    """A socket that waits for packets from others."""

    protocol: str
    address: str
    port: int
    inode: str

    @property
    def only_loopback(self) -> bool:
        return ipaddress.ip_address(self.address).is_loopback

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.protocol} {address}:{self.port}"


def listeners_of(host: Host) -> list[Listener]:
    """Return all sockets that wait."""
    found = []
    for table, protocol, state in TABLES:
        for line in host.lines(f"/proc/net/{table}")[1:]:
            fields = line.split()
            if len(fields) > 9 and fields[3] == state:
                address, _colon, port = fields[1].partition(":")
                found.append(Listener(protocol, kernel_address(address), int(port, 16), fields[9]))
    return found


def kernel_address(text: str) -> str:
    """Return an address that /proc/net shows as 32-bit words in the byte order of this machine."""
    raw = bytes.fromhex(text)
    words = (int.from_bytes(raw[at : at + 4], "big").to_bytes(4, sys.byteorder) for at in range(0, len(raw), 4))
    address = ipaddress.ip_address(b"".join(words))
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def holders(host: Host) -> dict[str, str]:
    """Return the name of the program that holds each socket, by the socket's inode."""

    def make() -> dict[str, str]:
        found: dict[str, str] = {}
        for process in host.processes:
            try:
                handles = host.names(f"/proc/{process}/fd")
                name = (host.read(f"/proc/{process}/comm") or "").strip()
            except Unreadable:
                continue  # it ended meanwhile, or is not ours to see
            for handle in handles:
                match = re.fullmatch(r"socket:\[(\d+)\]", host.link(f"/proc/{process}/fd/{handle}"))
                # systemd holds the sockets of others; whoever serves them is the better name.
                if match and (match[1] not in found or found[match[1]] == "systemd"):
                    found[match[1]] = name
        return found

    known: dict[str, str] = host.once("socket holders", make)
    return known


def listeners(host: Host, parameters: Parameters) -> Observation:
    """Check that nothing waits for packets from outside but what was declared.

    ``allowed``: each with ``port`` (a number, or ``*``), ``protocol`` (tcp) and, if it must be so, ``process``, the
    name of the program as the kernel has it (15 characters). ``only_loopback``: ports that may wait there alone, such
    as 25. What waits on loopback only needs no declaration.
    """
    items = []
    for entry in listeners_of(host):
        if entry.only_loopback:
            continue
        holder = holders(host).get(entry.inode, "the kernel")
        text = f"{entry} ({holder})"
        if entry.port in parameters["only_loopback"]:
            items.append(item("", False, f"port {entry.port} on loopback only", text))
            continue
        allowed = any(
            str(wish["port"]) in ("*", str(entry.port))
            and wish["protocol"] == entry.protocol
            and wish["process"] in (None, holder)
            for wish in parameters["allowed"]
        )
        items.append(item("", allowed, "declared" if allowed else "declared, or not listening", text))
    if not items:
        items.append(item("", True, "nothing undeclared", "nothing waits for packets from outside"))
    return observation(items, "/proc/net")


ALLOWED_FIELDS: Mapping[str, Parameter] = {
    "port": Parameter("port", required=True),
    "protocol": Parameter("text", default="tcp", choices=("tcp", "udp")),
    "process": Parameter("text"),
}
READERS: Mapping[str, Reader] = {
    "listeners": Reader(
        listeners,
        {
            "allowed": Parameter("entries", required=True, fields=ALLOWED_FIELDS),
            "only_loopback": Parameter("numbers", default=()),
        },
    )
}
