# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which connections a rehearsal tries, and what each must do; pure."""

from __future__ import annotations

import ipaddress
import typing as t

from ..transaction.probe import Probe
from .evaluate import Packet, judge
from .model import Entry, Network, Rule

# Addresses for documentation: no real host has them, so they stand for a stranger.
STRANGERS = {4: "192.0.2.77", 6: "2001:db8:4d::77"}
# A port that is closed on nearly every host; the next ones are taken when a rule opens it.
CLOSED_PORTS = (9, 7, 11, 13, 17, 19)
MAX_SOURCES = 6
MAX_RULES = 6


def representative(network: Network, avoid: t.Collection[str]) -> str:
    """Return an address of the network that is none of those to avoid, or nothing."""
    if network.prefixlen == network.max_prefixlen:
        text = str(network.network_address)
        return "" if text in avoid else text
    for offset in (1, 2, 3, 4, 5, 6):
        if offset < network.num_addresses:
            text = str(ipaddress.ip_address(int(network.network_address) + offset))
            if text not in avoid:
                return text
    return ""


def inbound_probes(
    entries: t.Sequence[Entry],
    default: str,
    rules: t.Sequence[Rule],
    management_sources: t.Sequence[Network],
    management_ports: t.Sequence[int],
    controller: str,
    addresses: t.Mapping[int, str],
) -> list[Probe]:
    """Return the connections to try: every management source to SSH, strangers, a closed port, a few of the rules.

    addresses holds this host's own address by family. What a probe expects is what the evaluator says, so that
    rehearsal and evaluator check each other.
    """
    own = set(addresses.values())
    wished: list[tuple[str, str, int]] = []
    sources = [controller] if controller else []
    sources += [representative(network, own) for network in management_sources[:MAX_SOURCES] if network.prefixlen]
    for source in dict.fromkeys(source for source in sources if source and source not in own):
        wished += [("management", source, port) for port in management_ports[:2]]
    for family, address in addresses.items():
        stranger = STRANGERS[family]
        wished += [("stranger", stranger, port) for port in management_ports[:1]]
        closed = next((port for port in CLOSED_PORTS if not passes(entries, default, stranger, address, port)), None)
        if closed is not None:
            wished.append(("closed port", stranger, closed))
    for rule in [item for item in rules if item.direction == "in" and item.protocol == "tcp" and item.ports][
        :MAX_RULES
    ]:
        if rule.action == "limit" or rule.interface or rule.destinations or rule.name == "management":
            continue
        source = representative(rule.sources[0], own) if rule.sources else STRANGERS[4]
        if source:
            wished.append((rule.name, source, rule.ports[0].first))
    probes: dict[tuple[str, int], Probe] = {}
    for name, source, port in wished:
        own_address = addresses.get(6 if ":" in source else 4)
        if own_address and (source, port) not in probes:
            expected = "open" if passes(entries, default, source, own_address, port) else "closed"
            probes[source, port] = Probe(name, source, own_address, port, expected)
    return list(probes.values())


def passes(entries: t.Sequence[Entry], default: str, source: str, destination: str, port: int) -> bool:
    """Return whether the rule set admits a TCP connection."""
    return judge(entries, default, Packet("in", "tcp", source, destination, port)).admitted


def after_rollback(probes: t.Iterable[Probe], admitted_before: t.Callable[[str, str, int], bool]) -> list[Probe]:
    """Return the management probes again, with what the old state does."""
    return [
        Probe(
            p.name,
            p.source,
            p.destination,
            p.port,
            "open" if admitted_before(p.source, p.destination, p.port) else "closed",
        )
        for p in probes
        if p.name == "management"
    ]
