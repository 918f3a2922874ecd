# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wished: rules in their order, and the connections that have to be allowed or refused. Pure.

Names are written as in pg_hba.conf: ``all`` is the keyword, ``"all"`` a name, ``+team`` the members of a role,
``/^app_`` a regular expression. Quotes that a name needs for its characters are added.
"""

from __future__ import annotations

import ipaddress
import typing as t
from dataclasses import dataclass

from .. import names
from .match import (
    CONNECTIONS,
    LOCAL,
    NO_RULE,
    PLAINTEXT,
    REJECT,
    Connection,
    World,
    holds_user,
    pattern_of,
)
from .syntax import BARE, INCLUDED_SINCE, METHODS, TYPES, Address, Field, Record, Token, record_of, render, words

ALLOWED, REFUSED = "allowed", "refused"
EXPECTATIONS = (ALLOWED, REFUSED)
WEAK = {
    "trust": "lets in everybody without a password",
    "password": "sends the password as it is",
    "md5": "takes hashes that can be cracked or passed on",
    "ident": "believes what the client's host says",
}
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
BEGIN = "# BEGIN rules of bulwark.hardening.postgresql_hba; changes between these lines are undone"
END = "# END rules of bulwark.hardening.postgresql_hba"
ADMINISTRATOR = "the local administrator"

# What pg_createcluster writes, which nobody has chosen; in version 13 with md5.
NEW_CLUSTER = (
    "local all {user} peer",
    "local all all peer",
    "host all all 127.0.0.1/32 {method}",
    "host all all ::1/128 {method}",
    "local replication all peer",
    "host replication all 127.0.0.1/32 {method}",
    "host replication all ::1/128 {method}",
)


@dataclass(frozen=True)
class Rule:
    """One wished rule; every address is a line of its own."""

    records: tuple[Record, ...]
    comment: str
    accepted_risk: str
    path: str

    @property
    def method(self) -> str:
        return self.records[0].method


@dataclass(frozen=True)
class Probe:
    """A connection whose outcome is part of the policy."""

    name: str
    connection: Connection
    expect: str
    method: str = ""
    password: str = ""


@dataclass(frozen=True)
class Policy:
    """All that is wished."""

    rules: tuple[Rule, ...]
    probes: tuple[Probe, ...]


def policy_of(
    rules: t.Sequence[t.Mapping[str, t.Any]], probes: t.Sequence[t.Mapping[str, t.Any]], major: int, administrator: str
) -> Policy:
    """Return the policy of a module's arguments. Raises ValueError with every faulty value and its path.

    The probe of the administrator, who comes by the socket, is always part of it.
    """
    problems: list[str] = []
    wished_rules = [_rule(rule, f"rules[{index}]", major, problems) for index, rule in enumerate(rules)]
    wished_probes = [_probe(probe, f"probes[{index}]", problems) for index, probe in enumerate(probes)]
    doubled = sorted({probe.name for probe in wished_probes if [p.name for p in wished_probes].count(probe.name) > 1})
    problems += [f"probes: the name {name!r} is given twice; choose one for each" for name in doubled]
    if not rules:
        problems.append("rules: there is none, so that nobody could log in; give at least one")
    if problems:
        raise ValueError("; ".join(problems))
    own = Probe(ADMINISTRATOR, Connection(LOCAL, administrator, "postgres"), ALLOWED, "peer")
    return Policy(tuple(rule for rule in wished_rules if rule), (own, *wished_probes))


def _rule(wish: t.Mapping[str, t.Any], path: str, major: int, problems: list[str]) -> Rule | None:
    found: list[str] = []
    kind, method = wish["type"], wish["method"]
    if kind not in TYPES:
        found.append(f"{path}.type: {kind!r} is no type; accepted are {', '.join(TYPES)}")
    if method not in METHODS:
        found.append(f"{path}.method: {method!r} is no method; accepted are {', '.join(METHODS)}")
    databases = _names(wish["databases"], f"{path}.databases", major, found)
    users = _names(wish["users"], f"{path}.users", major, found)
    wished_addresses = wish.get("addresses") or []
    if (kind == "local") == bool(wished_addresses):
        need = "has none" if kind == "local" else "needs at least one"
        found.append(f"{path}.addresses: a rule of the type {kind} {need}")
    addresses = [_address(text, f"{path}.addresses[{index}]", found) for index, text in enumerate(wished_addresses)]
    comment, risk = wish.get("comment") or "", (wish.get("accepted_risk") or "").strip()
    for name, text in (("comment", comment), ("accepted_risk", risk)):
        if any(ord(character) < 32 for character in text) or text.endswith("\\"):
            found.append(f"{path}.{name}: {text!r} is not one line without a backslash at its end")
    options = tuple((str(name), str(value)) for name, value in (wish.get("options") or {}).items())
    records: list[Record] = []
    places: list[Address | None] = [*addresses] or [None]
    for address in [] if found else places:
        try:
            # As the server would read the line that it becomes.
            line = render(Record(kind, databases, users, address, method, options))
            records.append(record_of(words(line), path, 0, major))
        except ValueError as error:
            found = [f"{path}: {error}"]
    rule = Rule(tuple(records), comment, risk, path) if not found else None
    if rule and not risk:
        found += risks(rule)
    problems += found
    return rule


def risks(rule: Rule) -> list[str]:
    """Return why a rule needs accepted_risk."""
    way_out = "or say in accepted_risk why it must be"
    if rule.method in WEAK:
        return [f"{rule.path}.method: {rule.method} {WEAK[rule.method]}; choose another, {way_out}"]
    plain = rule.records[0].type in ("host", "hostnossl", "hostnogssenc") and rule.method != REJECT
    if plain and not all(is_loopback(record.address) for record in rule.records):
        kind = rule.records[0].type
        return [f"{rule.path}.type: {kind} lets clients of other hosts in without TLS; take hostssl, {way_out}"]
    return []


def is_loopback(address: Address | None) -> bool:
    """Return whether only this host itself can come from there."""
    if address is None or address.keyword == "samehost":
        return True
    if not address.version:
        return False
    width = 32 if address.version == 4 else 128
    bits = bin(address.mask).count("1")
    if address.mask != (1 << width) - (1 << width - bits):
        return False
    base = address.base & address.mask
    return any(
        network.version == address.version
        and bits >= network.prefixlen
        and base >= int(network.network_address)
        and base <= int(network.broadcast_address)
        for network in LOOPBACK
    )


def _names(wishes: t.Sequence[str], path: str, major: int, found: list[str]) -> Field:
    if not wishes:
        found.append(f"{path}: there is none; name at least one, or all")
    return tuple(_name(str(text), f"{path}[{index}]", major, found) for index, text in enumerate(wishes))


def _name(text: str, path: str, major: int, found: list[str]) -> Token:
    token = Token(text)
    if len(text) >= 2 and text[0] == text[-1] == '"':
        token = Token(text[1:-1].replace('""', '"'), True)
    elif not BARE.fullmatch(text[:1]):
        token = Token(text, True)
    if not token.quoted and text[:1] == "@":
        found.append(f"{path}: {text!r} would be read as a file's name; list its content, or put the name into quotes")
    elif pattern_of(token, INCLUDED_SINCE) is not None:
        if major < INCLUDED_SINCE:
            found.append(
                f"{path}: {text!r} is a regular expression, which PostgreSQL {major} does not know; "
                f"name each, or use PostgreSQL {INCLUDED_SINCE} or later"
            )
        elif "\n" in text or "\0" in text:
            found.append(f"{path}: {text!r} has a line break or NUL, which pg_hba.conf cannot hold")
    else:
        plain = token.text[1:] if not token.quoted and text[:1] == "+" else token.text
        problem = names.name_problem(plain) or ("it has a line break" if "\n" in plain else "")
        if problem:
            found.append(f"{path}: {text!r} is no name: {problem}")
    return token


def _address(text: str, path: str, found: list[str]) -> Address:
    """Return an address, a network in CIDR notation, a keyword or a host's name."""
    if text in ("all", "samehost", "samenet"):
        return Address(keyword=text)
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        if "/" in text or ":" in text or not text.strip(".0123456789") or not BARE.fullmatch(text):
            found.append(
                f"{path}: {text!r} is no address ({error}); accepted are addresses, networks in CIDR notation, "
                "names of hosts, all, samehost and samenet"
            )
        return Address(name=text)
    return Address(base=int(network.network_address), mask=int(network.netmask), version=network.version)


def _probe(wish: t.Mapping[str, t.Any], path: str, problems: list[str]) -> Probe:
    kind, address, replication = wish["connection"], wish.get("address") or "", bool(wish.get("replication"))
    if kind not in CONNECTIONS:
        problems.append(f"{path}.connection: {kind!r} is no way to connect; accepted are {', '.join(CONNECTIONS)}")
    if (kind == LOCAL) == bool(address):
        need = "comes by the socket and has none" if kind == LOCAL else "needs the client's"
        problems.append(f"{path}.address: a probe over {kind} {need}")
    if address:
        try:
            address = str(ipaddress.ip_address(address))
        except ValueError:
            problems.append(f"{path}.address: {address!r} is no address; accepted is one of IPv4 or IPv6")
    database = wish.get("database") or ""
    if bool(database) == replication:
        problems.append(f"{path}.database: name the one to connect to, or set replication to true, not both")
    if wish["expect"] not in EXPECTATIONS:
        problems.append(f"{path}.expect: {wish['expect']!r} is none of {', '.join(EXPECTATIONS)}")
    for name in ("user", "database"):
        problem = names.name_problem(wish[name]) if wish.get(name) or name == "user" else ""
        if problem:
            problems.append(f"{path}.{name}: {problem}")
    method = wish.get("method") or ""
    if method and (method not in METHODS or (wish["expect"] == REFUSED and method != REJECT)):
        problems.append(f"{path}.method: {method!r} is not what a probe that is {wish['expect']} can end with")
    password = wish.get("password") or ""
    if password and (kind == PLAINTEXT or wish["expect"] == REFUSED or replication):
        problems.append(f"{path}.password: it is used for an allowed login to a database by TLS or the socket only")
    connection = Connection(kind, wish["user"], database, address, replication)
    return Probe(wish["name"], connection, wish["expect"], method, password)


def certificate_problems(policy: Policy) -> list[str]:
    """Return the rules that nobody could come in by while the server has no CA for the certificates of clients."""
    return [
        f"{rule.path}: it asks for a client certificate; name the CAs in the empty setting ssl_ca_file"
        for rule in policy.rules
        if rule.records[0].asks_certificate
    ]


def superuser_problems(policy: Policy, superusers: t.Sequence[str], world: World) -> list[str]:
    """Return the rules by which a superuser could come from another host, unless one before refuses it."""
    problems: list[str] = []
    for index, rule in enumerate(policy.rules):
        if rule.method == REJECT or rule.accepted_risk or all(is_loopback(record.address) for record in rule.records):
            continue
        open_to = [
            name
            for name in superusers
            if holds_user(rule.records[0].users, name, world)
            and not any(_shuts_out(earlier, rule, name, world) for earlier in policy.rules[:index])
        ]
        if open_to:
            problems.append(
                f"{rule.path}: the superuser {open_to[0]!r} could log in from another host; name other users, put a "
                "rule before it that rejects superusers from everywhere, or say in accepted_risk why it must be"
            )
    return problems


def _shuts_out(earlier: Rule, rule: Rule, name: str, world: World) -> bool:
    """Return whether an earlier rule rejects this user wherever the later one would admit it."""
    first, last = earlier.records[0], rule.records[0]
    physical = any(token.is_keyword("replication") for token in last.databases)
    logical = any(not token.is_keyword("replication") for token in last.databases)
    return (
        earlier.method == REJECT
        and first.type in ("host", last.type)
        and any(record.address == Address(keyword="all") for record in earlier.records)
        and holds_user(first.users, name, world)
        and (not physical or any(token.is_keyword("replication") for token in first.databases))
        and (not logical or any(token.is_keyword("all") for token in first.databases))
    )


def text_of(policy: Policy) -> str:
    """Return the policy as lines of pg_hba.conf, between its marks."""
    lines = [BEGIN]
    for rule in policy.rules:
        lines += [f"# {text}" for text in (rule.comment,) if text]
        lines += [f"# accepted risk: {text}" for text in (rule.accepted_risk,) if text]
        lines += [render(record) for record in rule.records]
    return "\n".join([*lines, END]) + "\n"


def outside(text: str) -> str:
    """Return what stands before and after the marks; all of it if there are none."""
    before, begin, rest = text.partition(BEGIN + "\n")
    _own, end, after = rest.partition(END + "\n")
    return before + after if begin and end else text


def is_of_new_cluster(lines: t.Iterable[str], system_user: str) -> bool:
    """Return whether lines are just those that a new cluster of Debian has, in whatever columns."""
    found = tuple(" ".join(line.split()) for line in lines)
    methods = ("scram-sha-256", "md5")
    return any(found == tuple(line.format(user=system_user, method=m) for line in NEW_CLUSTER) for m in methods)


def judge(probe: Probe, record: Record | None) -> str:
    """Return why a decision is not what the probe expects, empty if it is."""
    refused = record is None or record.method == REJECT
    method = NO_RULE if record is None else record.method
    if refused != (probe.expect == REFUSED) or probe.method not in ("", method):
        by = f"by {record.file} line {record.line} ({render(record)})" if record else "as no rule matches"
        outcome = REFUSED if refused else f"{ALLOWED} by the method {method}"
        wanted = f"{probe.expect} by the method {probe.method}" if probe.method else probe.expect
        return f"{probe.name} ({describe(probe.connection)}) would be {outcome} {by}, and is expected to be {wanted}"
    return ""


def describe(connection: Connection) -> str:
    """Return a connection in words."""
    target = "replication" if connection.replication else f"database {connection.database!r}"
    origin = "by the socket" if connection.kind == LOCAL else f"over {connection.kind} from {connection.address}"
    return f"{connection.user!r} to {target} {origin}"
