# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cluster and its databases hold: roles, memberships, owners and every single privilege; pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace

from ..names import identifier, qualified
from .model import PRIVILEGES, PUBLIC


@dataclass(frozen=True)
class Entry:
    """One privilege as the server keeps it: to whom, by whom, on which column, and whether it may be passed on."""

    grantee: str
    grantor: str
    privilege: str
    column: str = ""
    grantable: bool = False


@dataclass(frozen=True, eq=False)
class Item:
    """An object with its privileges. ``kind`` is the word that GRANT has for it.

    ``managed`` is false for what lies outside the schemas of the wish and was read because its roles hold something
    there. ``linked`` objects always have the owner of another one.
    """

    kind: str
    schema: str
    name: str
    owner: str
    entries: tuple[Entry, ...] = ()
    managed: bool = True
    linked: bool = False
    arguments: str = ""
    columns: tuple[str, ...] = ()

    @property
    def sql(self) -> str:
        """The object as a statement names it."""
        if self.kind == "PARAMETER":
            # Not a name of SQL: the server takes the words of a setting, and knows none with other characters.
            return ".".join(identifier(part) for part in self.name.split("."))
        name = qualified(self.schema, self.name) if self.schema else identifier(self.name)
        # The types as the server itself writes them.
        return f"{name}({self.arguments})" if self.kind == "ROUTINE" else name

    def owned_by(self, owner: str) -> Item:
        """Return what becomes of the object when it gets this owner: the old one's privileges and grants follow."""

        def follow(role: str) -> str:
            return owner if role == self.owner else role

        merged: dict[Entry, bool] = {}
        for entry in self.entries:
            moved = replace(entry, grantee=follow(entry.grantee), grantor=follow(entry.grantor), grantable=False)
            merged[moved] = merged.get(moved, False) or entry.grantable
        return replace(self, owner=owner, entries=tuple(replace(entry, grantable=can) for entry, can in merged.items()))


@dataclass(frozen=True)
class RoleState:
    """A role that exists.

    ``verifier`` is read only where the wish has a password; ``elsewhere`` are databases that the wish does not name and
    where the role owns something.
    """

    name: str
    login: bool
    inherit: bool
    superuser: bool
    createrole: bool
    createdb: bool
    replication: bool
    bypassrls: bool
    connection_limit: int
    verifier: str = field(default="", repr=False)
    elsewhere: tuple[str, ...] = ()


@dataclass(frozen=True)
class Membership:
    """One grant of a role to a member; before version 16 it has no ``inherit`` and ``set`` of its own."""

    role: str
    member: str
    grantor: str
    admin: bool = False
    inherit: bool = True
    set: bool = True


@dataclass(frozen=True)
class Cluster:
    """What all databases share. ``others`` are settings and tablespaces on which roles of the wish hold something."""

    major: int
    session: str
    bootstrap: str
    roles: t.Mapping[str, RoleState]
    memberships: tuple[Membership, ...] = ()
    databases: t.Mapping[str, Item] = field(default_factory=dict)
    others: tuple[Item, ...] = ()


@dataclass(frozen=True)
class DefaultEntry:
    """One set of default privileges that differs from PostgreSQL's own."""

    creator: str
    schema: str
    kind: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Contents:
    """What one database holds.

    ``effective`` is what the server itself says that roles may do to append-only tables and the sequences that number
    them, whatever way the right comes: schema, object, role, privilege. Superusers are not in it.
    """

    name: str
    items: tuple[Item, ...]
    defaults: tuple[DefaultEntry, ...] = ()
    effective: tuple[tuple[str, str, str, str], ...] = ()
    # Sequences by the table that they number: (schema, table) to (schema, sequence).
    numbering: t.Mapping[tuple[str, str], tuple[tuple[str, str], ...]] = field(default_factory=dict)

    def item(self, kind: str, schema: str, name: str) -> Item | None:
        """Return the object of this name."""
        return next((i for i in self.items if (i.kind, i.schema, i.name) == (kind, schema, name)), None)


def own_privileges(kind: str, owner: str, major: int) -> tuple[Entry, ...]:
    """Return what an owner has on an object that nobody has granted anything on."""
    return tuple(Entry(owner, owner, name) for name, since in PRIVILEGES.get(kind, {}).items() if major >= since)


def born_with(kind: str, owner: str, major: int) -> tuple[Entry, ...]:
    """Return PostgreSQL's own default for a new object of a role."""
    public = {"ROUTINE": ("EXECUTE",), "TYPE": ("USAGE",), "DATABASE": ("CONNECT", "TEMPORARY")}.get(kind, ())
    return (*own_privileges(kind, owner, major), *(Entry(PUBLIC, owner, name) for name in public))


def new_database(name: str, template_owner: str, major: int, managed: bool) -> Contents:
    """Return what a database made from template0 holds: the schema `public`. managed: whether the wish is about it."""
    schema_owner = "pg_database_owner" if major >= 15 else template_owner
    public = [Entry(PUBLIC, schema_owner, "USAGE")]
    if major < 15:
        public.append(Entry(PUBLIC, schema_owner, "CREATE"))
    entries = (*own_privileges("SCHEMA", schema_owner, major), *public)
    return Contents(name, (Item("SCHEMA", "", "public", schema_owner, entries, managed=managed),))
