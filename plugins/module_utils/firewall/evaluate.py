# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide what a rule set does with a packet or with a whole network; pure."""

from __future__ import annotations

import ipaddress
import typing as t
from dataclasses import dataclass

from .model import Entry, Network

ADMITS = ("allow", "limit")


@dataclass(frozen=True)
class Packet:
    """The first packet of a connection."""

    direction: str
    protocol: str
    source: str
    destination: str
    port: int
    interface: str = ""


@dataclass(frozen=True)
class Judgement:
    """What happens, and the entry that decided it; no entry means the default."""

    action: str
    entry: Entry | None

    @property
    def admitted(self) -> bool:
        """Return whether the packet passes."""
        return self.action in ADMITS

    def because(self) -> str:
        """Return one clause that names the cause."""
        if self.entry is None:
            return f"the default is {self.action}"
        owner = "the policy's" if self.entry.own else "the host's own"
        return f"{owner} rule {self.entry.describe()!r}"


def matches(entry: Entry, packet: Packet) -> bool:
    """Return whether the entry matches the packet; an entry with a condition that cannot be judged denies only."""
    source, destination = ipaddress.ip_address(packet.source), ipaddress.ip_address(packet.destination)
    if entry.forward or entry.direction != packet.direction or entry.family != source.version:
        return False
    if entry.protocol not in ("any", packet.protocol):
        return False
    if entry.ports and not any(port.covers(packet.port) for port in entry.ports):
        return False
    if entry.interface and entry.interface != packet.interface and (packet.interface or entry.action in ADMITS):
        # On an unknown interface an entry may match or not; the careful answer is that only a denial does.
        return False
    return source in entry.source and destination in entry.destination


def judge(entries: t.Iterable[Entry], default: str, packet: Packet) -> Judgement:
    """Return what the first matching entry decides, else the default."""
    for entry in entries:
        if matches(entry, packet):
            return Judgement(entry.action, entry)
    return Judgement(default, None)


@dataclass(frozen=True)
class Admission:
    """Whether a whole network reaches a port: fully, and if not, what stands in the way.

    ``partial`` holds denying entries that take out some addresses only.
    """

    full: bool
    blocked_by: Judgement | None
    partial: tuple[Entry, ...] = ()


def admission(entries: t.Iterable[Entry], default: str, source: Network, port: int, protocol: str = "tcp") -> Admission:
    """Return whether every address of ``source`` reaches the port inbound.

    An entry that needs a certain interface or destination may or may not match, so it never counts as admitting, and
    counts as denying.
    """
    partial: list[Entry] = []
    for entry in entries:
        if entry.forward or entry.direction != "in" or entry.family != source.version:
            continue
        if entry.protocol not in ("any", protocol) or not entry.source.overlaps(source):
            continue
        if entry.ports and not any(item.covers(port) for item in entry.ports):
            continue
        whole = source.subnet_of(entry.source)  # type: ignore[arg-type]  # the families were compared above
        if entry.action in ADMITS:
            unconditional = not entry.interface and not entry.destination.prefixlen and not entry.source_ports
            if whole and unconditional:
                return Admission(True, None, tuple(partial))
        elif whole:
            return Admission(False, Judgement(entry.action, entry), tuple(partial))
        else:
            partial.append(entry)
    return Admission(default in ADMITS, None if default in ADMITS else Judgement(default, None), tuple(partial))


def widening(foreign: t.Iterable[Entry], own: t.Sequence[Entry], default: str) -> list[Entry]:
    """Return the host's own inbound entries that admit what the policy alone would not."""
    wide: list[Entry] = []
    if default in ADMITS:
        return wide
    for entry in foreign:
        if entry.forward or entry.direction != "in" or entry.action not in ADMITS:
            continue
        if not any(covers(rule, entry) for rule in own if rule.action in ADMITS):
            wide.append(entry)
    return wide


def covers(outer: Entry, inner: Entry) -> bool:
    """Return whether every packet that ``inner`` matches is matched by ``outer`` as well."""
    if (outer.direction, outer.family, outer.forward) != (inner.direction, inner.family, inner.forward):
        return False
    if outer.protocol not in ("any", inner.protocol) or outer.interface not in ("", inner.interface):
        return False
    if outer.ports and not inner.ports:
        return False
    if not all(any(o.first <= i.first and i.last <= o.last for o in outer.ports) for i in inner.ports if outer.ports):
        return False
    if outer.source_ports and outer.source_ports != inner.source_ports:
        return False
    return within(inner.source, outer.source) and within(inner.destination, outer.destination)


def within(inner: Network, outer: Network) -> bool:
    """Return whether the first network lies inside the second."""
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]  # of one family


def shadowed(entries: t.Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    """Return (entry, the earlier one for every port and source that hides it) where the two have opposite effects."""
    hidden: list[tuple[Entry, Entry]] = []
    catch_all: list[Entry] = []
    for entry in entries:
        for earlier in catch_all:
            if covers(earlier, entry) and (earlier.action in ADMITS) != (entry.action in ADMITS):
                hidden.append((entry, earlier))
                break
        if not entry.ports and not entry.source.prefixlen:
            catch_all.append(entry)
    return hidden
