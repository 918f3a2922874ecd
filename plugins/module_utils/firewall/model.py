# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy model; pure.

A policy is an ordered list of rules, first match wins, with a default for each direction. ``Entry`` is the common form
into which both backends translate what they hold, so that one evaluator serves both.
"""

from __future__ import annotations

import ipaddress
import typing as t
from dataclasses import dataclass

Network = t.Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

ACTIONS = ("allow", "deny", "reject", "limit")
DEFAULT_ACTIONS = ("allow", "deny", "reject")
DIRECTIONS = ("in", "out")
PORT_PROTOCOLS = ("tcp", "udp")
PROTOCOLS = ("tcp", "udp", "any", "esp", "ah", "gre")
BACKENDS = ("ufw", "firewalld")
LOGGING_LEVELS = ("off", "low", "medium", "high")
ESSENTIALS = ("dns", "mirrors", "ntp")
# The options that hold rules, in the order in which their rules apply.
RULE_LISTS = ("rules", "group_rules", "host_rules", "dependent_rules")
MANAGEMENT_NAME = "management"
MAX_PORT = 65535
FAMILIES = (4, 6)


@dataclass(frozen=True)
class PortRange:
    """Ports ``first`` to ``last``, both included."""

    first: int
    last: int

    def covers(self, port: int) -> bool:
        """Return whether the port is in the range."""
        return self.first <= port <= self.last

    def to_value(self) -> int | str:
        """Return the port, or "from-to", as a user writes it."""
        return self.first if self.first == self.last else f"{self.first}-{self.last}"


def parse_port(value: t.Any) -> PortRange:
    """Return the range that ``value`` names: 22, "22" or "8000-8010". Raises ValueError."""
    if isinstance(value, bool):
        raise ValueError(value)
    first, dash, last = str(value).strip().partition("-")
    if not all(part.isascii() and part.isdecimal() for part in ((first, last) if dash else (first,))):
        raise ValueError(value)
    low, high = int(first), int(last) if dash else int(first)
    if not (1 <= low <= MAX_PORT and 1 <= high <= MAX_PORT and low <= high):
        raise ValueError(value)
    return PortRange(low, high)


def parse_network(value: t.Any) -> Network:
    """Return the network or single address that ``value`` names. Raises ValueError, also for bits after the prefix."""
    return ipaddress.ip_network(str(value).strip(), strict=True)


def network_text(network: Network) -> str:
    """Return the shortest form: an address without its full-length prefix, a network with its prefix."""
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def everything(family: int) -> Network:
    """Return the network that holds every address of the family."""
    return ipaddress.ip_network("0.0.0.0/0" if family == 4 else "::/0")


def merge_ports(ports: t.Iterable[PortRange]) -> tuple[PortRange, ...]:
    """Return the ports sorted, without repetition and without overlap."""
    merged: list[PortRange] = []
    for port in sorted(set(ports), key=lambda item: (item.first, item.last)):
        if merged and port.first <= merged[-1].last:
            merged[-1] = PortRange(merged[-1].first, max(merged[-1].last, port.last))
        else:
            merged.append(port)
    return tuple(merged)


@dataclass(frozen=True)
class Rule:
    """One rule of the policy, as the user wrote it, in canonical form.

    Empty ``ports``, ``sources`` or ``destinations`` match every port or address.
    """

    name: str
    direction: str = "in"
    action: str = "allow"
    protocol: str = "tcp"
    ports: tuple[PortRange, ...] = ()
    sources: tuple[Network, ...] = ()
    destinations: tuple[Network, ...] = ()
    interface: str = ""
    log: bool = False
    comment: str = ""

    def pairs(self) -> list[tuple[int, Network, Network]]:
        """Return (family, source, destination) for each pair that one packet can have, sources in order first."""
        pairs: list[tuple[int, Network, Network]] = []
        for family in FAMILIES:
            sources = [n for n in self.sources if n.version == family] if self.sources else [everything(family)]
            targets = (
                [n for n in self.destinations if n.version == family] if self.destinations else [everything(family)]
            )
            pairs += [(family, source, target) for source in sources for target in targets]
        return pairs

    def entries(self) -> list[Entry]:
        """Return the rule as entries, one for each pair of addresses."""
        return [
            Entry(
                family=family,
                direction=self.direction,
                action=self.action,
                protocol=self.protocol,
                ports=self.ports,
                source=source,
                destination=destination,
                interface=self.interface,
                log="log" if self.log else "",
                name=self.name,
                comment=self.comment,
                own=True,
            )
            for family, source, destination in self.pairs()
        ]

    def to_dict(self) -> dict[str, t.Any]:
        """Return the rule as the user would write it, defaults left out."""
        return {
            key: value
            for key, value in (
                ("name", self.name),
                ("direction", self.direction),
                ("action", self.action),
                ("protocol", self.protocol),
                ("ports", [port.to_value() for port in self.ports]),
                ("sources", [network_text(network) for network in self.sources]),
                ("destinations", [network_text(network) for network in self.destinations]),
                ("interface", self.interface),
                ("log", self.log),
                ("comment", self.comment),
            )
            if value
        }


@dataclass(frozen=True)
class Entry:
    """One match of the effective rule set in the form that both backends share.

    ``own`` tells this collection's entries from the host's own. ``forward`` marks an entry for routed packets.
    """

    family: int
    direction: str
    action: str
    protocol: str
    ports: tuple[PortRange, ...]
    source: Network
    destination: Network
    source_ports: tuple[PortRange, ...] = ()
    interface: str = ""
    log: str = ""
    name: str = ""
    comment: str = ""
    own: bool = False
    forward: bool = False
    origin: str = ""

    def to_dict(self) -> dict[str, t.Any]:
        """Return the entry for diffs and messages, defaults left out."""
        return {
            key: value
            for key, value in (
                ("name", self.name),
                ("origin", self.origin),
                ("family", f"ipv{self.family}"),
                ("direction", "routed" if self.forward else self.direction),
                ("action", self.action),
                ("protocol", self.protocol),
                ("ports", [port.to_value() for port in self.ports]),
                ("source_ports", [port.to_value() for port in self.source_ports]),
                ("source", network_text(self.source) if self.source.prefixlen else ""),
                ("destination", network_text(self.destination) if self.destination.prefixlen else ""),
                ("interface", self.interface),
                ("log", self.log),
                ("comment", self.comment),
            )
            if value
        }

    def describe(self) -> str:
        """Return one clause for messages."""
        ports = "" if not self.ports else " " + ",".join(str(port.to_value()) for port in self.ports)
        text = f"{self.action} {'routed' if self.forward else self.direction} {self.protocol}{ports}"
        text += f" from {network_text(self.source) if self.source.prefixlen else 'anywhere'}"
        if self.destination.prefixlen:
            text += f" to {network_text(self.destination)}"
        return f"{text} ({self.name})" if self.name else text


@dataclass(frozen=True)
class Policy:
    """The wished state. ``default_routed`` None leaves routed packets as the host has them."""

    rules: tuple[Rule, ...] = ()
    default_inbound: str = "deny"
    default_outbound: str = "allow"
    default_routed: str | None = None
    logging: str = "low"

    def entries(self) -> list[Entry]:
        """Return every rule's entries in order."""
        return [entry for rule in self.rules for entry in rule.entries()]

    def expects(self, direction: str) -> str:
        """Return the default action of the direction."""
        return self.default_inbound if direction == "in" else self.default_outbound


def unique(networks: t.Iterable[Network]) -> tuple[Network, ...]:
    """Return the networks without repetition, in order."""
    return tuple(dict.fromkeys(networks))


def rule_from(raw: t.Mapping[str, t.Any]) -> Rule:
    """Return the rule that a validated mapping describes."""
    return Rule(
        name=str(raw["name"]),
        direction=raw.get("direction") or "in",
        action=raw.get("action") or "allow",
        protocol=raw.get("protocol") or "tcp",
        ports=merge_ports(parse_port(port) for port in raw.get("ports") or ()),
        sources=unique(parse_network(network) for network in raw.get("sources") or ()),
        destinations=unique(parse_network(network) for network in raw.get("destinations") or ()),
        interface=raw.get("interface") or "",
        log=bool(raw.get("log")),
        comment=(raw.get("comment") or "").strip(),
    )


def management_rule(sources: t.Iterable[Network], ports: t.Iterable[int]) -> Rule:
    """Return the rule that keeps administration open; no source means every source."""
    return Rule(
        name=MANAGEMENT_NAME,
        ports=merge_ports(PortRange(port, port) for port in ports),
        sources=unique(sources),
    )


def policy_from(raw: t.Mapping[str, t.Any], management_sources: t.Iterable[Network], ports: t.Iterable[int]) -> Policy:
    """Return the policy of validated options: the management rule, then the rules of each list."""
    management = management_rule(management_sources, ports)
    rules = tuple(rule_from(item) for name in RULE_LISTS for item in raw.get(name) or ())
    return Policy(
        rules=((management,) if management.ports else ()) + rules,
        default_inbound=raw.get("default_inbound") or "deny",
        default_outbound=raw.get("default_outbound") or "allow",
        default_routed=raw.get("default_routed") or None,
        logging=raw.get("logging") or "low",
    )
