# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plan has to know about the host: addresses, listening SSH ports, name servers, mirrors."""

from __future__ import annotations

import glob
import ipaddress
import json
import os
import re
import socket
import typing as t
from dataclasses import dataclass

from .essential import Flow, flows
from .system import read_text, run, unit_is

PACKAGE_FILES = (
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d/*.list",
    "/etc/apt/sources.list.d/*.sources",
    "/etc/yum.repos.d/*.repo",
)
PROXY_FILES = ("/etc/apt/apt.conf", "/etc/apt/apt.conf.d/*", "/etc/dnf/dnf.conf", "/etc/yum.conf")
TIME_UNITS = ("systemd-timesyncd.service", "chrony.service", "chronyd.service", "ntpsec.service", "ntp.service")
# systemd-resolved and others answer on loopback; this file has the servers that they ask.
UPSTREAM_RESOLV = "/run/systemd/resolve/resolv.conf"


@dataclass(frozen=True)
class Card:
    """The network card that carries the default route, with its global addresses ("192.0.2.10/24")."""

    name: str
    addresses: tuple[str, ...]

    def address(self, family: int) -> str:
        """Return the first address of the family without its prefix, or nothing."""
        for item in self.addresses:
            if ipaddress.ip_interface(item).version == family:
                return item.partition("/")[0]
        return ""


def parse_cards(addresses: t.Sequence[t.Mapping[str, t.Any]]) -> list[Card]:
    """Return the cards with global addresses from ``ip -json address``, loopback left out."""
    cards = []
    for link in addresses:
        found = tuple(
            f"{item['local']}/{item['prefixlen']}"
            for item in link.get("addr_info", [])
            if item.get("scope") == "global" and not item.get("temporary")
        )
        if found and "LOOPBACK" not in link.get("flags", []):
            cards.append(Card(str(link["ifname"]), found))
    return cards


def cards() -> list[Card]:
    """Return this host's cards, the one with the given address first when asked for by ``card_with``."""
    return parse_cards(json.loads(run(["ip", "-json", "address"]).stdout or "[]"))


def card_with(known: t.Sequence[Card], address: str) -> Card | None:
    """Return the card that has the address, else the one that leads to the default route, else the first."""
    for card in known:
        if any(item.partition("/")[0] == address for item in card.addresses):
            return card
    for family in ("-4", "-6"):
        routes = json.loads(run(["ip", family, "-json", "route", "show", "default"], check=False).stdout or "[]")
        for route in routes:
            for card in known:
                if card.name == route.get("dev"):
                    return card
    return known[0] if known else None


def parse_listeners(text: str) -> list[int]:
    """Return the ports on which ``ss -Hltnp`` shows sshd, loopback left out."""
    ports = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 4 or '"sshd"' not in line:
            continue
        address, _colon, port = words[3].rpartition(":")
        if port.isdecimal() and not address.startswith(("127.", "[::1]")):
            ports.append(int(port))
    return ports


def parse_socket_ports(text: str) -> list[int]:
    """Return the ports of ``systemctl show --property=Listen ssh.socket``."""
    return [int(port) for port in re.findall(r":(\d+) \(Stream\)", text)]


def ssh_ports() -> list[int]:
    """Return the ports on which sshd, or systemd on its behalf, listens now."""
    ports = parse_listeners(run(["ss", "-Hltnp"], check=False).stdout)
    for unit in ("ssh.socket", "sshd.socket"):
        if unit_is("is-active", unit):
            ports += parse_socket_ports(run(["systemctl", "show", "--property=Listen", unit], check=False).stdout)
    return sorted(set(ports))


def texts(patterns: t.Iterable[str]) -> list[str]:
    """Return the content of the files that match, in order of their names."""
    return [read_text(path, "") for pattern in patterns for path in sorted(glob.glob(pattern)) if os.path.isfile(path)]


def resolve(name: str) -> list[str]:
    """Return the addresses of a name, or nothing when it does not resolve now."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return list(dict.fromkeys(str(item[4][0]) for item in found))


def essential_flows() -> list[Flow]:
    """Return what this host must reach to stay manageable."""
    return flows(
        resolv_conf=read_text("/etc/resolv.conf", "") + "\n" + read_text(UPSTREAM_RESOLV, ""),
        package_texts=texts(PACKAGE_FILES),
        proxy_texts=texts(PROXY_FILES),
        time_client=any(unit_is("is-active", unit) for unit in TIME_UNITS),
        resolve=resolve,
    )
