# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""firewalld's notations: rich rules and the XML of policies, zones and services; pure.

Own rules live in policies of their own, so nothing of the host's zones has to be rewritten. The names of the rules
stand in XML comments, which firewalld ignores.
Source: firewalld.richlanguage(5), firewalld.policy(5), firewalld.zone(5), firewalld.service(5).
"""

from __future__ import annotations

import re
import shlex
import typing as t
from dataclasses import dataclass, replace
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from .model import Entry, PortRange, everything, network_text, parse_network, parse_port

INBOUND, OUTBOUND = "bulwark-inbound", "bulwark-outbound"
# Behind the zones' own rules, so that what the host itself denies or allows stays in front.
POLICY_PRIORITY = 32000
FIRST_PRIORITY = -32768
VERDICTS = {"allow": "accept", "deny": "drop", "reject": "reject"}
ACTIONS = {verdict: action for action, verdict in VERDICTS.items()}
TARGETS = {"allow": "ACCEPT", "deny": "DROP", "reject": "REJECT"}
# What outbound traffic cannot do without under a closing default: neighbour discovery and error messages.
CONTROL_PROTOCOLS = {4: "icmp", 6: "ipv6-icmp"}
# A condition that the evaluator cannot judge: the entry may match or not.
CONDITION = "(condition)"
UNSAFE = re.compile(r"%|-(?=-|$)|[^\x20-\x7e]")


@dataclass(frozen=True)
class PolicyFile:
    """One policy object of firewalld with its entries in order."""

    name: str
    target: str
    ingress: str
    egress: str
    entries: tuple[Entry, ...]

    def text(self) -> str:
        """Return the policy's XML."""
        lines = [
            '<?xml version="1.0" encoding="utf-8"?>',
            f'<policy priority="{POLICY_PRIORITY}" target="{self.target}">',
            f"  <short>{self.name}</short>",
            "  <description>Made by bulwark.hardening.firewall, which replaces every change made here.</description>",
            f'  <ingress-zone name="{self.ingress}"/>',
            f'  <egress-zone name="{self.egress}"/>',
        ]
        for position, entry in enumerate(self.elements()):
            if entry.name:
                label = entry.name + (f"; {entry.comment}" if entry.comment else "")
                lines.append(f"  <!-- {escape(label)} -->")
            lines.append(f"  {element_text(entry, FIRST_PRIORITY + position)}")
        return "\n".join([*lines, "</policy>", ""])

    def elements(self) -> list[Entry]:
        """Return the entries with one port range each, as firewalld needs them."""
        return [single for entry in self.entries for single in split_ports(entry)]

    def rich_rules(self) -> list[str]:
        """Return the rules as firewalld reports them at run time."""
        return [rich_text(entry, FIRST_PRIORITY + position) for position, entry in enumerate(self.elements())]


def escape(label: str) -> str:
    """Return a label that cannot end or break an XML comment; ``unescape`` gives it back."""
    return UNSAFE.sub(lambda match: "".join(f"%{byte:02X}" for byte in match.group().encode("utf-8")), label)


def unescape(text: str) -> str:
    """Return the label that ``escape`` was given."""
    raw = re.sub(rb"%([0-9A-F]{2})", lambda match: bytes([int(match.group(1), 16)]), text.encode("utf-8"))
    return raw.decode("utf-8", "replace")


def split_ports(entry: Entry) -> list[Entry]:
    """Return one entry for each port range."""
    return [replace(entry, ports=(port,)) for port in entry.ports] or [entry]


def matches_of(entry: Entry) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the elements of an entry, in firewalld's order, with their attributes."""
    elements: list[tuple[str, list[tuple[str, str]]]] = []
    if entry.source.prefixlen:
        elements.append(("source", [("address", network_text(entry.source))]))
    if entry.destination.prefixlen:
        elements.append(("destination", [("address", network_text(entry.destination))]))
    if entry.ports:
        elements.append(("port", [("port", str(entry.ports[0].to_value())), ("protocol", entry.protocol)]))
    elif entry.protocol != "any":
        elements.append(("protocol", [("value", entry.protocol)]))
    if entry.log:
        elements.append(("log", [("prefix", "bulwark: "), ("level", "info")]))
    elements.append((VERDICTS[entry.action], []))
    return elements


def attributes_text(attributes: t.Iterable[tuple[str, str]]) -> str:
    """Return the attributes for XML and rich language alike."""
    return "".join(f" {key}={quoteattr(value)}" for key, value in attributes)


def element_text(entry: Entry, priority: int) -> str:
    """Return an entry as an XML element."""
    parts = [f'<rule priority="{priority}" family="ipv{entry.family}">']
    for name, attributes in matches_of(entry):
        if name == "log":
            parts.append(f'<log{attributes_text(attributes)}><limit value="3/m"/></log>')
        else:
            parts.append(f"<{name}{attributes_text(attributes)}/>")
    return "".join([*parts, "</rule>"])


def rich_text(entry: Entry, priority: int) -> str:
    """Return an entry in the rich language, as firewalld writes it."""
    words = [f'rule priority="{priority}" family="ipv{entry.family}"']
    for name, attributes in matches_of(entry):
        words.append(f"{name}{attributes_text(attributes)}" + (' limit value="3/m"' if name == "log" else ""))
    return " ".join(words)


def policy_files(entries: t.Sequence[Entry], default_inbound: str, default_outbound: str) -> list[PolicyFile]:
    """Return the policies that the wished entries need.

    Inbound, everything that no rule names is left to the zone, whose target refuses it; a closing target here would
    also close zones that accept on purpose, as those of Docker and VPNs do.
    """
    inbound = tuple(entry for entry in entries if entry.direction == "in")
    outbound = tuple(entry for entry in entries if entry.direction == "out")
    files = [PolicyFile(INBOUND, "ACCEPT" if default_inbound == "allow" else "CONTINUE", "ANY", "HOST", inbound)]
    if default_outbound != "allow":
        control = tuple(
            Entry(family, "out", "allow", protocol, (), everything(family), everything(family), own=True)
            for family, protocol in CONTROL_PROTOCOLS.items()
        )
        files.append(PolicyFile(OUTBOUND, TARGETS[default_outbound], "HOST", "ANY", control + outbound))
    elif outbound:
        files.append(PolicyFile(OUTBOUND, "CONTINUE", "HOST", "ANY", outbound))
    return files


def parse_xml(text: str, what: str) -> ElementTree.Element:
    """Return the root element, comments kept. Raises ValueError with a sentence."""
    # Only root writes these files, and expat fetches no external entity.
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))  # noqa: S314 - files of the host, which root wrote
    try:
        parser.feed(text)
        return parser.close()
    except ElementTree.ParseError as error:
        raise ValueError(f"{what} is not valid XML: {error}") from error


def tag_of(element: ElementTree.Element) -> str:
    """Return an element's name; comments have none."""
    return element.tag if isinstance(element.tag, str) else ""


Services = t.Callable[[str], t.Sequence[tuple[str, tuple[PortRange, ...]]]]


def entry_of_rule(element: ElementTree.Element, direction: str, services: Services, label: str = "") -> list[Entry]:
    """Return the entries of one rule element; a rule without a verdict (a pure log or masquerade) has none."""
    children = {tag_of(child): child for child in element}
    verdict = next((ACTIONS[name] for name in ACTIONS if name in children), "")
    if not verdict:
        return []
    addresses: dict[str, str] = {}
    condition = ""
    for side in ("source", "destination"):
        attributes = children[side].attrib if side in children else {}
        addresses[side] = attributes.get("address", "")
        if attributes.get("invert") in ("yes", "True", "true") or any(key in attributes for key in ("mac", "ipset")):
            condition, addresses[side] = CONDITION, ""
    if verdict == "allow" and children["accept"].find("limit") is not None:
        condition = CONDITION
    if any(name in children for name in ("source-port", "forward-port", "masquerade", "mark")):
        condition = CONDITION
    matched: list[tuple[str, tuple[PortRange, ...]]] = [("any", ())]
    if "port" in children:
        matched = [(children["port"].get("protocol", "tcp"), (parse_port(children["port"].get("port")),))]
    elif "protocol" in children:
        matched = [(children["protocol"].get("value", "any"), ())]
    elif "icmp-type" in children or "icmp-block" in children:
        matched = [("icmp", ())]
    elif "service" in children:
        matched = list(services(children["service"].get("name", "")))
    name, _separator, comment = label.partition("; ")
    entries = []
    for family in families_of(element.get("family"), addresses.values()):
        for protocol, ports in matched:
            entries.append(
                Entry(
                    family=family,
                    direction=direction,
                    action=verdict,
                    protocol=protocol,
                    ports=ports,
                    source=parse_network(addresses["source"]) if addresses["source"] else everything(family),
                    destination=parse_network(addresses["destination"])
                    if addresses["destination"]
                    else everything(family),
                    interface=condition,
                    log="log" if "log" in children else "",
                    name=name,
                    comment=comment,
                )
            )
    return entries


def families_of(family: str | None, addresses: t.Iterable[str]) -> tuple[int, ...]:
    """Return the families that a rule is about."""
    if family in ("ipv4", "ipv6"):
        return (int(family[-1]),)
    for address in addresses:
        if address:
            return (6,) if ":" in address else (4,)
    return (4, 6)


def rule_priority(element: ElementTree.Element) -> int:
    """Return a rule's priority, 0 when it has none."""
    try:
        return int(element.get("priority", "0"))
    except ValueError:
        return 0


def effect_order(element: ElementTree.Element) -> tuple[int, int]:
    """Return the key by which firewalld orders the rules of one zone or policy: priority, then denials first."""
    return rule_priority(element), 1 if any(tag_of(child) == "accept" for child in element) else 0


def entries_of(root: ElementTree.Element, direction: str, services: Services, own: bool, origin: str) -> list[Entry]:
    """Return the entries of a zone or a policy in the order in which firewalld applies them."""
    labelled: list[tuple[ElementTree.Element, str]] = []
    label = ""
    for element in root:
        if not isinstance(element.tag, str):
            label = unescape((element.text or "").strip()) if own else ""
        elif element.tag == "rule":
            labelled.append((element, label))
            label = ""
    early = [item for item in labelled if effect_order(item[0]) < (0, 1)]
    late = [item for item in labelled if item not in early]
    entries: list[Entry] = []
    for element, text in sorted(early, key=lambda item: effect_order(item[0])):
        entries += entry_of_rule(element, direction, services, text)
    entries += plain_openings(root, direction, services)
    for element, text in sorted(late, key=lambda item: effect_order(item[0])):
        entries += entry_of_rule(element, direction, services, text)
    return [replace(entry, own=own, origin="" if own else origin) for entry in entries]


def plain_openings(root: ElementTree.Element, direction: str, services: Services) -> list[Entry]:
    """Return the services, ports and protocols that a zone or policy opens without a rich rule."""
    openings: list[tuple[str, str, tuple[PortRange, ...]]] = []
    for element in root:
        tag = tag_of(element)
        if tag == "service":
            name = element.get("name", "")
            openings += [(f"service {name}", protocol, ports) for protocol, ports in services(name)]
        elif tag == "port":
            openings.append(("", element.get("protocol", "tcp"), (parse_port(element.get("port")),)))
        elif tag == "protocol":
            openings.append(("", element.get("value", "any"), ()))
    return [
        Entry(family, direction, "allow", protocol, ports, everything(family), everything(family), comment=comment)
        for comment, protocol, ports in openings
        for family in (4, 6)
    ]


def service_ports(text: str) -> list[tuple[str, tuple[PortRange, ...]]]:
    """Return (protocol, ports) of a service file; a service without ports opens none."""
    root = parse_xml(text, "the service file")
    found: list[tuple[str, tuple[PortRange, ...]]] = []
    for element in root:
        if tag_of(element) == "port" and element.get("port"):
            found.append((element.get("protocol", "tcp"), (parse_port(element.get("port")),)))
        elif tag_of(element) == "protocol":
            found.append((element.get("value", "any"), ()))
    return found


def services_in(text: str) -> list[str]:
    """Return the services that a zone file opens."""
    return [e.get("name", "") for e in parse_xml(text, "the zone file") if tag_of(e) == "service"]


def without_services(text: str, names: t.Collection[str]) -> str:
    """Return a zone file without these services; everything else stays byte for byte."""
    pattern = "|".join(re.escape(name) for name in names)
    return re.sub(rf"[ \t]*<service\s+name=([\"'])(?:{pattern})\1\s*(?:/>|>\s*</service>)[ \t]*\n?", "", text)


def with_services(text: str, names: t.Iterable[str]) -> str:
    """Return a zone file that opens these services again."""
    present = services_in(text)
    lines = "".join(f"  <service name={quoteattr(name)}/>\n" for name in names if name not in present)
    return text.replace("</zone>", f"{lines}</zone>", 1)


def parse_rich(rule: str) -> ElementTree.Element:
    """Return a rich rule as the XML element that means the same. Raises ValueError."""
    words = shlex.split(rule)
    if not words or words[0] != "rule":
        raise ValueError(f"{rule!r} is not a rich rule")
    root = ElementTree.Element("rule")
    current = root
    for word in words[1:]:
        key, equals, value = word.partition("=")
        if equals:
            current.set(key, value)
        elif key == "NOT":
            current.set("invert", "yes")
        elif key == "limit":
            current = ElementTree.SubElement(current if current is not root else root, key)
        else:
            current = ElementTree.SubElement(root, key)
    return root


def setting_line(text: str, key: str, value: str) -> str:
    """Return firewalld.conf with one setting changed, or added at the end."""
    pattern = re.compile(rf"^{re.escape(key)}\s*=.*$", re.MULTILINE)
    if pattern.search(text):
        return pattern.sub(f"{key}={value}", text)
    return f"{text.rstrip()}\n{key}={value}\n"


def setting_of(text: str, key: str, default: str) -> str:
    """Return one setting of firewalld.conf."""
    found = re.findall(rf"^{re.escape(key)}\s*=\s*(.*?)\s*$", text, re.MULTILINE)
    return str(found[-1]) if found else default
