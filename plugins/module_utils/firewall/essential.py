# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host must reach to stay manageable: name servers, package mirrors, time; pure.

Without them the next package update, certificate check or name look-up fails, often days after the change.
"""

from __future__ import annotations

import re
import typing as t
import urllib.parse
from dataclasses import dataclass

from .evaluate import ADMITS, Packet, judge
from .model import Entry

HTTP_PORTS = {"http": 80, "https": 443, "ftp": 21}
NTP_PORT = 123
DNS_PORT = 53


@dataclass(frozen=True)
class Flow:
    """One thing that must stay reachable: at least one address out of ``addresses``.

    No address means that the name did not resolve now; then any rule that opens the port is enough.
    """

    kind: str
    name: str
    protocol: str
    port: int
    addresses: tuple[str, ...] = ()


def name_servers(resolv_conf: str) -> list[str]:
    """Return the name servers of a resolv.conf that are not on this host."""
    servers = []
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            address = words[1].split("%", 1)[0]
            if not address.startswith("127.") and address != "::1":
                servers.append(address)
    return list(dict.fromkeys(servers))


def package_uris(texts: t.Iterable[str]) -> list[str]:
    """Return the addresses of package mirrors in apt's and dnf's files, in order, without repetition."""
    uris: list[str] = []
    for text in texts:
        for line in text.splitlines():
            stripped = line.strip()
            if stripped.startswith(("#", ";")):
                continue
            if re.match(r"(deb|deb-src)\s|URIs\s*:|(baseurl|mirrorlist|metalink)\s*=", stripped, re.IGNORECASE):
                uris += re.findall(r"(?:https?|ftp)://[^\s\]]+", stripped)
    return list(dict.fromkeys(uris))


def proxies(texts: t.Iterable[str]) -> list[str]:
    """Return the proxies that apt or dnf are told to use."""
    found: list[str] = []
    for text in texts:
        for line in text.splitlines():
            stripped = line.strip()
            if stripped.startswith(("#", "//", ";")):
                continue
            match = re.match(r"(?:Acquire::https?::Proxy|proxy\s*=)\s*\"?(https?://[^\s\";]+)", stripped, re.IGNORECASE)
            if match:
                found.append(match.group(1))
    return list(dict.fromkeys(found))


def endpoint(uri: str) -> tuple[str, int] | None:
    """Return host and port of an address, or None when it has none."""
    parts = urllib.parse.urlsplit(uri)
    try:
        port = parts.port or HTTP_PORTS.get(parts.scheme.lower())
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname and port else None


def flows(
    resolv_conf: str,
    package_texts: t.Iterable[str],
    proxy_texts: t.Iterable[str],
    time_client: bool,
    resolve: t.Callable[[str], t.Sequence[str]],
) -> list[Flow]:
    """Return what must stay reachable. With a proxy, only the proxy must."""
    found = [Flow("dns", server, "udp", DNS_PORT, (server,)) for server in name_servers(resolv_conf)]
    endpoints = [endpoint(uri) for uri in proxies(proxy_texts) or package_uris(package_texts)]
    for item in dict.fromkeys(item for item in endpoints if item):
        found.append(Flow("mirrors", item[0], "tcp", item[1], tuple(resolve(item[0]))))
    if time_client:
        found.append(Flow("ntp", "any time server", "udp", NTP_PORT))
    return found


def reachable(flow: Flow, entries: t.Sequence[Entry], default: str, own_addresses: t.Mapping[int, str]) -> bool:
    """Return whether the rule set lets the host reach the flow."""
    for address in flow.addresses:
        source = own_addresses.get(6 if ":" in address else 4)
        if source is None:
            continue
        if judge(entries, default, Packet("out", flow.protocol, source, address, flow.port)).admitted:
            return True
    if flow.addresses:
        return not any((6 if ":" in address else 4) in own_addresses for address in flow.addresses)
    for entry in entries:
        fits = entry.direction == "out" and not entry.forward and entry.protocol in ("any", flow.protocol)
        if fits and (not entry.ports or any(port.covers(flow.port) for port in entry.ports)):
            if entry.action in ADMITS:
                return True
            if not entry.destination.prefixlen:
                return False
    return default in ADMITS


def missing_rule(flow: Flow) -> str:
    """Return the rule that would keep the flow open, as the user writes it."""
    destinations = (
        f", destinations: [{', '.join(chr(34) + a + chr(34) for a in flow.addresses)}]" if flow.addresses else ""
    )
    return (
        f"{{name: {flow.kind}, direction: out, action: allow, protocol: {flow.protocol}, "
        f"ports: [{flow.port}]{destinations}}}"
    )


def cut_flows(
    wanted: t.Iterable[Flow],
    entries: t.Sequence[Entry],
    default: str,
    own_addresses: t.Mapping[int, str],
    allow_cut: t.Collection[str] = (),
) -> list[str]:
    """Return one sentence for each flow that the rule set would cut."""
    return [
        f"this policy would cut {flow.kind} ({flow.name} {flow.protocol}/{flow.port}): add {missing_rule(flow)} "
        f'to firewall_rules, or "{flow.kind}" to firewall_allow_cut'
        for flow in wanted
        if flow.kind not in allow_cut and not reachable(flow, entries, default, own_addresses)
    ]
