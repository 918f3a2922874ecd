# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a firewall policy and name every fault with the path to the value; pure, used on the controller too.

The paths carry the role's variable names, because that is what the user wrote. ``group:NAME`` is accepted wherever an
address is: the controller replaces it before the policy reaches the managed host.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t

from ..transaction.window import proof_problem
from .model import (
    ACTIONS,
    BACKENDS,
    DEFAULT_ACTIONS,
    DIRECTIONS,
    ESSENTIALS,
    LOGGING_LEVELS,
    MANAGEMENT_NAME,
    PORT_PROTOCOLS,
    PROTOCOLS,
    RULE_LISTS,
    parse_network,
    parse_port,
)

PREFIX = "firewall_"
GROUP_PREFIX = "group:"
MAX_RULES = 5000
# firewalld numbers the entries of one policy from -32768 to 32767.
MAX_ENTRIES = 30000
MAX_COMMENT = 200
MAX_SHOWN = 60
WINDOW_SECONDS = (30, 600)
RULE_KEYS = (
    "name",
    "direction",
    "action",
    "protocol",
    "ports",
    "sources",
    "destinations",
    "interface",
    "log",
    "comment",
)
OPERATIONS = ("apply", "commit", "rollback", "status", "validate")
USER_KEYS = (
    "backend",
    *RULE_LISTS,
    "default_inbound",
    "default_outbound",
    "default_routed",
    "logging",
    "management_sources",
    "management_ports",
    "dependent_management_ports",
    "allow_cut",
    "rehearse",
    "window_seconds",
    "confirm_logins",
    "confirm_seconds",
)
OPTION_KEYS = (*USER_KEYS, "operation", "transaction")
NAME = re.compile(r"[A-Za-z0-9 ._-]{1,64}")
INTERFACE = re.compile(r"[A-Za-z0-9_.@=%,-]{1,15}")
BOOLEANS = ("true", "false", "yes", "no", "on", "off", "1", "0")
GROUP = re.compile(r"group:[A-Za-z0-9_.-]+")


def listed(values: t.Iterable[str]) -> str:
    """Return the accepted values for a message."""
    return ", ".join(values)


def choice(value: t.Any, accepted: t.Sequence[str], path: str) -> list[str]:
    """Return a problem when the value is none of the accepted ones."""
    if value in accepted and isinstance(value, str):
        return []
    return [f"{path}: {value!r} is not accepted; accepted are {listed(accepted)}"]


def address_problem(value: t.Any, path: str) -> list[str]:
    """Return what is wrong with an address, a network or a group reference."""
    text = value if isinstance(value, str) else repr(value)
    if isinstance(value, str) and value.startswith(GROUP_PREFIX):
        if GROUP.fullmatch(value):
            return []
        return [f'{path}: {value!r} does not name a group; accepted is "group:NAME" with a group of the inventory']
    try:
        if not isinstance(value, str):
            raise ValueError(value)
        network = parse_network(value)
    except ValueError:
        try:
            loose = ipaddress.ip_network(text.strip(), strict=False)
        except ValueError:
            return [
                (
                    f'{path}: {text} is not an address; accepted are "192.0.2.1", "192.0.2.0/24", "2001:db8::/32" '
                    'or "group:NAME"'
                )
            ]
        return [
            f"{path}: {text} has bits set after its prefix; write {loose} for the network, or leave the prefix away"
        ]
    if network.version == 6 and network.network_address.ipv4_mapped is not None and network.prefixlen >= 96:
        return [f"{path}: {text} is an IPv4 address in IPv6 form, which no packet carries; write it as IPv4"]
    if network.network_address.is_multicast:
        return [
            f"{path}: {text} is a multicast group, which a rule cannot open or close; accepted are unicast addresses"
        ]
    return []


def as_list(value: t.Any, path: str) -> tuple[list[t.Any], list[str]]:
    """Return the list and no problem, or an empty list and the problem."""
    if value is None:
        return [], []
    if isinstance(value, (list, tuple)):
        return list(value), []
    return [], [f"{path}: {value!r} is not a list; write [{value}]"]


def address_list(value: t.Any, path: str) -> tuple[list[t.Any], list[str]]:
    """Return the addresses and the problems of a list of addresses."""
    items, problems = as_list(value, path)
    for index, item in enumerate(items):
        problems += address_problem(item, f"{path}[{index}]")
    return items, problems


def port_list(value: t.Any, path: str) -> tuple[list[t.Any], list[str]]:
    """Return the ports and the problems of a list of ports."""
    items, problems = as_list(value, path)
    for index, item in enumerate(items):
        try:
            parse_port(item)
        except ValueError:
            first, dash, last = str(item).partition("-")
            if dash and first.strip().isdecimal() and last.strip().isdecimal() and int(first) > int(last):
                problems.append(f'{path}[{index}]: {item} runs backwards; write "{last.strip()}-{first.strip()}"')
            else:
                problems.append(f'{path}[{index}]: {item} is not a port; accepted are 1 to 65535 or "from-to"')
    return items, problems


def families(items: t.Iterable[t.Any]) -> set[int]:
    """Return the address families in a list; groups count as both, since only the controller knows their addresses."""
    found: set[int] = set()
    for item in items:
        if isinstance(item, str) and item.startswith(GROUP_PREFIX):
            found |= {4, 6}
            continue
        try:
            found.add(parse_network(item).version)
        except ValueError:
            continue
    return found


def pair_problems(sources: list[t.Any], destinations: list[t.Any], path: str) -> list[str]:
    """Return a problem when some address has no partner of its own family on the other side."""
    if not sources or not destinations:
        return []
    for side, ours, theirs in (("sources", sources, destinations), ("destinations", destinations, sources)):
        other = families(theirs)
        for index, item in enumerate(ours):
            own = families([item])
            if own and other and not own & other:
                opposite = "destinations" if side == "sources" else "sources"
                return [
                    (
                        f"{path}.{side}[{index}]: {item} is IPv{min(own)}, but {opposite} has no IPv{min(own)} "
                        "address, so no packet could match; add one or split the rule"
                    )
                ]
    return []


def plain_comment(comment: t.Any) -> bool:
    """Return whether both backends can keep the comment."""
    return isinstance(comment, str) and len(comment) <= MAX_COMMENT and comment.isprintable() and "'" not in comment


def text_problems(rule: t.Mapping[str, t.Any], path: str) -> list[str]:
    """Return the problems of a rule's name, interface, comment and log flag."""
    problems: list[str] = []
    name = rule.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name) or name != name.strip():
        problems.append(f"{path}.name: {name!r} is not a rule name; accepted are 1 to 64 of A-Z a-z 0-9 space . _ -")
    elif name == MANAGEMENT_NAME:
        problems.append(
            f'{path}.name: "{name}" is kept for the rule made of firewall_management_sources; choose another'
        )
    interface = rule.get("interface")
    if interface not in (None, "") and not (isinstance(interface, str) and INTERFACE.fullmatch(interface)):
        problems.append(f"{path}.interface: {interface!r} is not an interface name of at most 15 characters")
    comment = rule.get("comment")
    if comment not in (None, "") and not plain_comment(comment):
        shown = repr(comment) if len(repr(comment)) <= MAX_SHOWN else f"{repr(comment)[:MAX_SHOWN]}…"
        problems.append(
            f"{path}.comment: {shown} is not accepted; accepted are up to {MAX_COMMENT} printable characters without "
            "an apostrophe"
        )
    log = rule.get("log")
    if log is not None and not isinstance(log, bool):
        problems.append(f"{path}.log: {log!r} is not accepted; accepted are true and false")
    return problems


def combination_problems(rule: t.Mapping[str, t.Any], ports: list[t.Any], backend: t.Any, path: str) -> list[str]:
    """Return what does not fit together in one rule."""
    problems: list[str] = []
    direction, action = rule.get("direction") or "in", rule.get("action") or "allow"
    protocol = rule.get("protocol") or "tcp"
    if ports and protocol not in PORT_PROTOCOLS:
        problems.append(
            f"{path}.ports: protocol {protocol!r} has no ports; set protocol to tcp or udp, one rule for each"
        )
    if action == "limit" and not ports:
        problems.append(f"{path}.ports: a rule with action limit needs the ports that it limits")
    if action == "limit" and direction == "out":
        problems.append(
            f"{path}.action: limit counts new connections from outside; accepted for out are allow, deny, reject"
        )
    if action == "limit" and backend == "firewalld":
        problems.append(
            f"{path}.action: firewalld limits a rule as a whole and not each source, so strangers could use up the "
            "budget of everybody; accepted are allow, deny, reject, or firewall_backend ufw"
        )
    if rule.get("interface") and backend == "firewalld":
        problems.append(
            f"{path}.interface: firewalld binds interfaces to zones and not to rules; use sources or destinations, "
            "or firewall_backend ufw"
        )
    if direction == "out" and rule.get("sources") and not rule.get("destinations"):
        problems.append(
            f"{path}.sources: an outbound rule is about where the host may go; move the list to destinations"
        )
    return problems


def rule_problems(rule: t.Any, backend: t.Any, path: str) -> list[str]:
    """Return every problem of one rule."""
    if not isinstance(rule, t.Mapping):
        return [f"{path}: {rule!r} is not a rule; accepted is a dictionary with the keys {listed(RULE_KEYS)}"]
    problems = [f"{path}.{key}: unknown key; accepted are {listed(RULE_KEYS)}" for key in rule if key not in RULE_KEYS]
    problems += text_problems(rule, path)
    for key, accepted in (("direction", DIRECTIONS), ("action", ACTIONS), ("protocol", PROTOCOLS)):
        if rule.get(key) is not None:
            problems += choice(rule[key], accepted, f"{path}.{key}")
    ports, port_faults = port_list(rule.get("ports"), f"{path}.ports")
    sources, source_faults = address_list(rule.get("sources"), f"{path}.sources")
    destinations, destination_faults = address_list(rule.get("destinations"), f"{path}.destinations")
    problems += port_faults + source_faults + destination_faults
    if problems:
        return problems
    return combination_problems(rule, ports, backend, path) + pair_problems(sources, destinations, path)


def rules_problems(raw: t.Mapping[str, t.Any], backend: t.Any) -> list[str]:
    """Return every problem of the rule lists; names and limits are about all of them together."""
    problems: list[str] = []
    rules: list[tuple[str, t.Any]] = []
    for key in RULE_LISTS:
        listed_rules, faults = as_list(raw.get(key), f"{PREFIX}{key}")
        problems += faults
        rules += [(f"{PREFIX}{key}[{index}]", rule) for index, rule in enumerate(listed_rules)]
    if len(rules) > MAX_RULES:
        path = rules[MAX_RULES][0]
        return [*problems, f"{path}: {len(rules)} rules are too many for one host; accepted are up to {MAX_RULES}"]
    seen: dict[str, str] = {}
    entries = 0
    for path, rule in rules:
        problems += rule_problems(rule, backend, path)
        if not isinstance(rule, t.Mapping):
            continue
        name = rule.get("name")
        if isinstance(name, str) and name in seen:
            problems.append(f'{path}.name: "{name}" is also the name of {seen[name]}; names are unique')
        elif isinstance(name, str):
            seen[name] = path
        product = entry_count(rule)
        if entries <= MAX_ENTRIES < entries + product:
            problems.append(
                f"{path}: with this rule, sources, destinations and ports multiply to {entries + product} entries; "
                f"accepted are up to {MAX_ENTRIES}: use networks and port ranges"
            )
        entries += product
    return problems


def entry_count(rule: t.Mapping[str, t.Any]) -> int:
    """Return how many entries the backend would need for a rule, at most."""
    product = 1
    for key in ("sources", "destinations", "ports"):
        if isinstance(rule.get(key), list):
            product *= max(len(rule[key]), 1)
    return product


def number_problem(value: t.Any, low: int, high: int, path: str, unit: str) -> list[str]:
    """Return a problem when the value is no number between the bounds."""
    number = None if isinstance(value, (bool, float)) else value
    try:
        number = int(str(number))
    except ValueError:
        number = None
    if number is None or not low <= number <= high:
        return [f"{path}: {value!r} is not accepted; accepted are {low} to {high}{unit}"]
    return []


def validate_policy(raw: t.Mapping[str, t.Any]) -> list[str]:
    """Return one sentence for each fault of the module's options; an empty list means that the policy can be planned.

    Options are named as the module names them; a missing option has its default.
    """
    problems = [
        f"{PREFIX}{key}: unknown option; accepted are {listed(PREFIX + name for name in USER_KEYS)}"
        for key in raw
        if key not in OPTION_KEYS and not str(key).startswith("_")
    ]
    backend = raw.get("backend")
    if backend is not None:
        problems += choice(backend, BACKENDS, f"{PREFIX}backend")
    for key, accepted in (
        ("default_inbound", DEFAULT_ACTIONS),
        ("default_outbound", DEFAULT_ACTIONS),
        ("default_routed", DEFAULT_ACTIONS),
        ("logging", LOGGING_LEVELS),
    ):
        if raw.get(key) not in (None, "" if key == "default_routed" else None):
            problems += choice(raw[key], accepted, f"{PREFIX}{key}")
    if raw.get("default_routed") and backend == "firewalld":
        problems.append(
            f"{PREFIX}default_routed: firewalld routes by zones; leave it empty, or set firewall_backend to ufw"
        )
    problems += address_list(raw.get("management_sources"), f"{PREFIX}management_sources")[1]
    for key in ("management_ports", "dependent_management_ports"):
        ports, faults = as_list(raw.get(key), f"{PREFIX}{key}")
        problems += faults
        for index, port in enumerate(ports):
            problems += number_problem(port, 1, 65535, f"{PREFIX}{key}[{index}]", "")
    cuts, faults = as_list(raw.get("allow_cut"), f"{PREFIX}allow_cut")
    problems += faults
    for index, cut in enumerate(cuts):
        problems += choice(cut, ESSENTIALS, f"{PREFIX}allow_cut[{index}]")
    rehearse = raw.get("rehearse")
    if rehearse is not None and str(rehearse).lower() not in BOOLEANS:
        problems.append(f"{PREFIX}rehearse: {rehearse!r} is not accepted; accepted are true and false")
    for key, low, high, unit in (
        ("window_seconds", *WINDOW_SECONDS, " seconds"),
        ("confirm_logins", 0, 20, " logins"),
        ("confirm_seconds", 0, 300, " seconds"),
    ):
        if raw.get(key) is not None:
            problems += number_problem(raw[key], low, high, f"{PREFIX}{key}", unit)
    if not any("window_seconds" in problem or "confirm_seconds" in problem for problem in problems):
        window, confirm = int(raw.get("window_seconds") or 90), int(raw.get("confirm_seconds") or 0)
        problem = proof_problem(confirm, window, PREFIX)
        problems += [problem] if problem else []
    return problems + rules_problems(raw, backend)
