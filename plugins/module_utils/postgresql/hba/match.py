# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which rule decides on a connection, as the server would find it. Pure.

What only the host or the server knows (memberships, own networks, names, regular expressions) is in ``World``.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .syntax import INCLUDED_SINCE, Address, Field, Record, Token, number_of

LOCAL, TLS, PLAINTEXT = "local", "tls", "plaintext"
CONNECTIONS = (LOCAL, TLS, PLAINTEXT)
REJECT, NO_RULE = "reject", "no rule"
ENCRYPTION = {"hostssl": TLS, "hostnossl": PLAINTEXT}


@dataclass(frozen=True)
class Connection:
    """An attempt to log in. Without an address it comes by the socket."""

    kind: str
    user: str
    database: str = ""
    address: str = ""
    replication: bool = False


@dataclass(frozen=True)
class World:
    """What a decision depends on besides the rules.

    memberships: by role, all roles it is in, itself included. names: by address, the names that lead there and back.
    matches: whether PostgreSQL's regular expression finds something in a text.
    """

    major: int
    memberships: t.Mapping[str, t.Collection[str]] = field(default_factory=dict)
    networks: t.Sequence[Address] = ()
    names: t.Mapping[str, t.Collection[str]] = field(default_factory=dict)
    matches: t.Callable[[str, str], bool] = lambda _pattern, _text: False

    def is_member(self, role: str, group: str) -> bool:
        return group in self.memberships.get(role, ())

    def same_net(self, address: str) -> bool:
        return any(network.holds(address) for network in self.networks)

    def same_host(self, address: str) -> bool:
        return number_of(address) in {(network.base, network.version) for network in self.networks}


def deciding(records: t.Iterable[Record], connection: Connection, world: World) -> Record | None:
    """Return the first rule that the connection matches, None if it is refused for want of one."""
    return next((record for record in records if _applies(record, connection, world)), None)


def method_of(record: Record | None) -> str:
    """Return what a decision asks of the client."""
    return NO_RULE if record is None else record.method


def _applies(record: Record, connection: Connection, world: World) -> bool:
    if (record.type == "local") != (connection.kind == LOCAL) or record.type == "hostgssenc":
        return False
    if ENCRYPTION.get(record.type, connection.kind) != connection.kind:
        return False
    if record.address is not None and not comes_from(record.address, connection.address, world):
        return False
    return holds_database(record.databases, connection, world) and holds_user(record.users, connection.user, world)


def comes_from(wanted: Address, address: str, world: World) -> bool:
    """Return whether a client's address is one that a rule is for."""
    if wanted.keyword == "samehost":
        return world.same_host(address)
    if wanted.keyword == "samenet":
        return world.same_net(address)
    if wanted.keyword:
        return True
    if wanted.version:
        return wanted.holds(address)
    names = [name.lower() for name in world.names.get(address, ())]
    pattern = wanted.name.lower()
    if pattern.startswith("."):
        return any(name.endswith(pattern) and name != pattern for name in names)
    return pattern in names


def holds_database(tokens: Field, connection: Connection, world: World) -> bool:
    """Return whether a list of databases holds the connection's."""
    return any(_is_database(token, connection, world) for token in tokens)


def _is_database(token: Token, connection: Connection, world: World) -> bool:
    if connection.replication:
        return token.is_keyword("replication")
    database = connection.database
    if token.is_keyword("all"):
        return True
    if token.is_keyword("sameuser"):
        return database == connection.user
    if token.is_keyword("samerole") or token.is_keyword("samegroup"):
        return world.is_member(connection.user, database)
    return not token.is_keyword("replication") and _is_name(token, database, world)


def holds_user(tokens: Field, user: str, world: World) -> bool:
    """Return whether a list of users holds the user."""
    return any(_is_user(token, user, world) for token in tokens)


def _is_user(token: Token, user: str, world: World) -> bool:
    if not token.quoted and token.text.startswith("+"):
        return world.is_member(user, token.text[1:])
    return token.is_keyword("all") or _is_name(token, user, world)


def pattern_of(token: Token, major: int) -> str | None:
    """Return the regular expression that a word is, None if it is none."""
    return token.text[1:] if major >= INCLUDED_SINCE and token.text.startswith("/") else None


def _is_name(token: Token, name: str, world: World) -> bool:
    pattern = pattern_of(token, world.major)
    return token.text == name if pattern is None else world.matches(pattern, name)
