# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ufw's rule notation; pure.

ufw keeps each rule of /etc/ufw/user.rules and user6.rules as one comment line that starts with ``### tuple ###``, and
renders the iptables lines from it. Only these lines are read and written here; ufw's own library renders the rest.
Source: ufw 0.36.2, the rules that ``ufw`` writes, and ufw-framework(8).
"""

from __future__ import annotations

import ipaddress
import typing as t
from dataclasses import dataclass

from .model import FAMILIES, Entry, PortRange, Rule, everything, network_text

MARK = "### tuple ###"
OWN_PREFIX = "bulwark: "
COMMENT_SEPARATOR = "; "
# iptables' multiport takes 15 ports, and a range counts as two.
MULTIPORT_SLOTS = 15
POLICY_WORDS = {"allow": "ACCEPT", "deny": "DROP", "reject": "REJECT"}


class BadTuple(ValueError):
    """A tuple line that cannot be read; the text is the sentence for the user."""


@dataclass(frozen=True)
class UfwRule:
    """One tuple line. Addresses and ports are kept as ufw wrote them, so that a foreign rule is never rewritten."""

    action: str
    protocol: str
    destination_port: str
    destination: str
    source_port: str
    source: str
    interfaces: str
    destination_application: str = ""
    source_application: str = ""
    comment: str = ""
    family: int = 4

    @property
    def own(self) -> bool:
        """Return whether this collection made the rule."""
        return self.comment.startswith(OWN_PREFIX)

    @property
    def name(self) -> str:
        """Return the policy's name of an own rule, else nothing."""
        return self.comment[len(OWN_PREFIX) :].partition(COMMENT_SEPARATOR)[0] if self.own else ""

    def line(self) -> str:
        """Return the line as ufw writes it."""
        words = [self.action, self.protocol, self.destination_port, self.destination, self.source_port, self.source]
        if self.destination_application or self.source_application:
            words += [
                name.replace(" ", "%20") or "-" for name in (self.destination_application, self.source_application)
            ]
        words.append(self.interfaces)
        text = f"{MARK} {' '.join(words)}"
        return f"{text} comment={self.comment.encode('utf-8').hex()}" if self.comment else text

    def entry(self) -> Entry:
        """Return the rule in the form that the evaluator reads."""
        verb, _colon, routed = self.action.partition(":")
        action, _underscore, log = (routed or verb).partition("_")
        direction, _under, interface = self.interfaces.partition("!")[0].partition("_")
        return Entry(
            family=self.family,
            direction=direction or "in",
            action=action,
            protocol=self.protocol,
            ports=ports_from(self.destination_port),
            source=network(self.source, self.family),
            destination=network(self.destination, self.family),
            source_ports=ports_from(self.source_port),
            interface=interface,
            log=log,
            name=self.name,
            comment=self.comment.partition(COMMENT_SEPARATOR)[2] if self.own else self.comment,
            own=self.own,
            forward=bool(routed),
            origin="" if self.own else "ufw",
        )


def ports_from(text: str) -> tuple[PortRange, ...]:
    """Return the ports of ``22``, ``80,443`` or ``8000:8010``; nothing for ``any``."""
    if text == "any":
        return ()
    ranges = []
    for part in text.split(","):
        first, _colon, last = part.partition(":")
        ranges.append(PortRange(int(first), int(last or first)))
    return tuple(ranges)


def ports_text(ports: t.Sequence[PortRange]) -> str:
    """Return the ports as ufw writes them."""
    return ",".join(str(p.first) if p.first == p.last else f"{p.first}:{p.last}" for p in ports) or "any"


def network(text: str, family: int) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Return the network of a tuple's address field."""
    return everything(family) if text == "any" else ipaddress.ip_network(text, strict=False)


def parse_tuple(line: str, family: int) -> UfwRule:
    """Return the rule of one tuple line. Raises BadTuple."""
    body, _separator, hexadecimal = line.strip().partition(" comment=")
    words = body[len(MARK) :].split()
    if not body.startswith(MARK) or len(words) not in (6, 7, 8, 9):
        raise BadTuple(f"the ufw rule {line.strip()!r} has {len(words)} fields; accepted are 6 to 9")
    applications = ("", "")
    if len(words) >= 8:
        destination, source = (("" if word == "-" else word.replace("%20", " ")) for word in words[6:8])
        applications = (destination, source)
    try:
        rule = UfwRule(
            action=words[0],
            protocol=words[1],
            destination_port=words[2],
            destination=words[3],
            source_port=words[4],
            source=words[5],
            interfaces=words[-1] if len(words) in (7, 9) else "in",
            destination_application=applications[0],
            source_application=applications[1],
            comment=bytes.fromhex(hexadecimal.strip()).decode("utf-8", "replace"),
            family=family,
        )
        rule.entry()
    except ValueError as error:
        raise BadTuple(f"the ufw rule {line.strip()!r} cannot be read: {error}") from error
    return rule


def parse_rules(text: str, family: int) -> list[UfwRule]:
    """Return the rules of a user.rules or user6.rules file in order. Raises BadTuple."""
    return [parse_tuple(line, family) for line in text.splitlines() if line.startswith(MARK)]


def port_groups(ports: t.Sequence[PortRange]) -> list[tuple[PortRange, ...]]:
    """Return the ports in groups that one iptables rule can hold."""
    groups: list[list[PortRange]] = [[]]
    slots = 0
    for port in ports:
        need = 1 if port.first == port.last else 2
        if groups[-1] and slots + need > MULTIPORT_SLOTS:
            groups.append([])
            slots = 0
        groups[-1].append(port)
        slots += need
    return [tuple(group) for group in groups]


def rules_from(rule: Rule) -> list[UfwRule]:
    """Return the tuples of one policy rule, IPv4 before IPv6."""
    comment = f"{OWN_PREFIX}{rule.name}" + (f"{COMMENT_SEPARATOR}{rule.comment}" if rule.comment else "")
    return [
        UfwRule(
            action=f"{rule.action}_log" if rule.log else rule.action,
            protocol=rule.protocol,
            destination_port=ports_text(group),
            destination=address_text(destination),
            source_port="any",
            source=address_text(source),
            interfaces=f"{rule.direction}_{rule.interface}" if rule.interface else rule.direction,
            comment=comment,
            family=family,
        )
        for family, source, destination in rule.pairs()
        for group in port_groups(rule.ports)
    ]


def address_text(value: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
    """Return an address field: 0.0.0.0/0 for every address, a single address without prefix."""
    return network_text(value)


def rules_file(rules: t.Iterable[UfwRule], family: int) -> str:
    """Return a file with the tuple lines only, from which ufw's library renders the complete one."""
    chain = "ufw" if family == 4 else "ufw6"
    head = [
        "*filter",
        f":{chain}-user-input - [0:0]",
        f":{chain}-user-output - [0:0]",
        f":{chain}-user-forward - [0:0]",
    ]
    return "\n".join([*head, "### RULES ###", *(rule.line() for rule in rules), "### END RULES ###", "COMMIT", ""])


def effective(rules: t.Mapping[int, t.Sequence[UfwRule]]) -> list[Entry]:
    """Return both families' rules in ufw's order."""
    return [rule.entry() for family in FAMILIES for rule in rules.get(family, ())]


def parse_settings(text: str) -> dict[str, str]:
    """Return the KEY=value lines of /etc/default/ufw or ufw.conf, keys in upper case, values without quotes."""
    settings: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and key.replace("_", "").isalnum() and not key.startswith("#"):
            settings[key.upper()] = value.strip().strip("\"'")
    return settings


def policy_action(word: str) -> str:
    """Return allow, deny or reject for ufw's ACCEPT, DROP or REJECT."""
    return {"ACCEPT": "allow", "REJECT": "reject"}.get(word.upper(), "deny")


def user_chains(saved: str, family: int) -> list[str]:
    """Return the lines of ``iptables-save`` that belong to ufw's user chains, without counters."""
    prefix = "ufw" if family == 4 else "ufw6"
    wanted = tuple(
        f"-A {prefix}-{chain} "
        for chain in (
            "user-input",
            "user-output",
            "user-forward",
            "user-limit",
            "user-limit-accept",
            "user-logging-input",
            "user-logging-output",
            "user-logging-forward",
            "before-logging-input",
            "before-logging-output",
            "before-logging-forward",
            "after-logging-input",
            "after-logging-output",
            "after-logging-forward",
            "logging-deny",
            "logging-allow",
        )
    )
    return [line for line in saved.splitlines() if line.startswith(wanted)]


def missing_structure(saved: str, family: int, defaults: t.Mapping[str, str]) -> list[str]:
    """Return what a running ufw has and this ``iptables-save`` text lacks: jumps, hooks and default policies."""
    prefix = "ufw" if family == 4 else "ufw6"
    lines = set(saved.splitlines())
    policies = {
        line.split()[0][1:]: line.split()[1] for line in lines if line.startswith(":") and len(line.split()) > 1
    }
    missing: list[str] = []
    for chain, key in (("input", "INPUT"), ("output", "OUTPUT"), ("forward", "FORWARD")):
        for stage in ("before-logging", "before", "after", "after-logging", "reject", "track"):
            if f"-A {key} -j {prefix}-{stage}-{chain}" not in lines:
                missing.append(f"{key} does not lead to {prefix}-{stage}-{chain}")
        if f"-A {prefix}-before-{chain} -j {prefix}-user-{chain}" not in lines:
            missing.append(f"{prefix}-before-{chain} does not lead to {prefix}-user-{chain}")
        wanted = "ACCEPT" if defaults.get(f"DEFAULT_{key}_POLICY", "DROP") == "ACCEPT" else "DROP"
        if policies.get(key) != wanted:
            missing.append(f"the policy of {key} is {policies.get(key)}, wished is {wanted}")
    return missing


def reload_batch(user_rules: str, defaults: t.Mapping[str, str], family: int) -> str:
    """Return one ``iptables-restore --noflush`` input that puts rules and default policies in place at once.

    It sets what ufw's own start sets for a running ufw, in a single transaction: reject and tracking chains, the
    skip-to-policy chains, the policies of the built-in chains, and the rendered user rules.
    """
    prefix = "ufw" if family == 4 else "ufw6"
    head, rules = ["*filter"], []
    for chain, key in (("input", "INPUT"), ("output", "OUTPUT"), ("forward", "FORWARD")):
        word = defaults.get(f"DEFAULT_{key}_POLICY", "DROP").upper()
        head.append(f":{key} {'ACCEPT' if word == 'ACCEPT' else 'DROP'} [0:0]")
        for stage in ("reject", "track", "skip-to-policy"):
            head.append(f":{prefix}-{stage}-{chain} - [0:0]")
        if word == "REJECT":
            rules.append(f"-A {prefix}-reject-{chain} -j REJECT")
        if word == "ACCEPT":
            rules += [
                f"-A {prefix}-track-{chain} -p {protocol} -m conntrack --ctstate NEW -j ACCEPT"
                for protocol in ("tcp", "udp")
            ]
        rules.append(f"-A {prefix}-skip-to-policy-{chain} -j {word}")
    body = [line for line in user_rules.splitlines() if line.strip() not in ("*filter", "COMMIT")]
    return "\n".join([*head, *body, *rules, "COMMIT", ""])
