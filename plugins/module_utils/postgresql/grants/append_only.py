# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables whose rows may only be added: everything that would let somebody change or remove one is refused; pure.

A superuser, and whoever holds the data directory, can always tamper; against them only a copy elsewhere helps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..names import qualified
from .model import ALL, PUBLIC, TAMPERING, Database, Schema, Wish
from .planner import rules_of
from .standing import Standing
from .state import Cluster, Contents, Item

# Attributes that lead to any right: a role with one of them can make itself the owner, or read and write past it.
POWERS = ("superuser", "createrole", "bypassrls", "replication")
WRITERS = ("pg_write_all_data", "pg_write_server_files", "pg_execute_server_program")
DATABASE_OWNER = "pg_database_owner"


def problems(wish: Wish, cluster: Cluster, contents: Mapping[str, Contents]) -> list[str]:
    """Return why tables of the wish would not be append-only."""
    standing = Standing(wish, cluster)
    found: list[str] = []
    guarded = False
    for database in wish.databases:
        for schema, item in tables(database, contents[database.name]):
            guarded = True
            guards = _guards(database, schema, item, cluster, contents[database.name])
            found += _table_problems(standing, schema, item, guards)
            found += _sequence_problems(schema, item, contents[database.name], guards)
    if guarded:
        for role in sorted(standing.roles - set(WRITERS)):
            groups = standing.reach(role) & set(WRITERS)
            if groups and not standing.has(role, "superuser"):
                found.append(
                    f"{role!r} is a member of {', '.join(sorted(groups))}, which writes to every append-only table; "
                    f"run 'REVOKE {sorted(groups)[0]} FROM {role}', or name the role in roles without it"
                )
    return list(dict.fromkeys(found))


def tables(database: Database, contents: Contents) -> Iterator[tuple[Schema, Item]]:
    """Return the append-only tables that exist, with their schemas."""
    schemas = {schema.name: schema for schema in database.schemas}
    for item in contents.items:
        if item.managed and item.kind == "TABLE" and schemas[item.schema].append_only(item.name):
            yield schemas[item.schema], item


def _guards(database: Database, schema: Schema, item: Item, cluster: Cluster, contents: Contents) -> dict[str, str]:
    """Return the roles that can do anything to the table, each with the reason."""
    existing = cluster.databases.get(database.name)
    of_database = database.owner or (existing.owner if existing else "")
    found = contents.item("SCHEMA", "", schema.name)
    of_schema = schema.owner or (found.owner if found else "")
    owners = {
        of_database: f"the database {database.name!r}",
        of_database if of_schema == DATABASE_OWNER else of_schema: f"the schema {schema.name!r}",
        schema.objects_owner or item.owner: f"the table {item.sql}",
    }
    return {role: what for role, what in owners.items() if role}


def _table_problems(standing: Standing, schema: Schema, item: Item, guards: Mapping[str, str]) -> Iterator[str]:
    owner = schema.objects_owner or item.owner
    grantees = set[str]()
    for grant in (grant for rule in rules_of(schema, item) for grant in rule.grants):
        if grant.role == PUBLIC:
            yield f"{item.sql} is append_only, and PUBLIC would have {', '.join(grant.privileges)} on it; name roles"
        elif grant.role != owner:
            grantees.add(grant.role)
            given = [name for name in grant.privileges if name in TAMPERING or name == ALL]
            if given:
                yield (
                    f"{item.sql} is append_only, and {grant.role!r} would have {', '.join(given)} on it; "
                    "accepted are SELECT, INSERT and MAINTAIN for anybody but the owner"
                )
    runtime = {role for role in standing.roles if standing.reach(role) & grantees}
    for role in sorted(runtime):
        for attribute in (name for name in POWERS if standing.has(role, name)):
            yield (
                f"{item.sql} is append_only, and {role!r}, which works with it, has {attribute.upper()}; use a role "
                "without it"
            )
        if role in guards:
            yield (
                f"{item.sql} is append_only, and {role!r}, which works with it, owns {guards[role]}; owners can take "
                "back every protection, so let another role own it"
            )
    for role in sorted(standing.roles - set(guards)):
        owners = sorted(standing.reach(role) & set(guards))
        if not owners or (standing.has(role, "superuser") and role not in runtime):
            continue
        if role in runtime:
            yield (
                f"{item.sql} is append_only, and {role!r}, which works with it, is a member of {owners[0]!r}, which "
                f"owns {guards[owners[0]]}; take it out of member_of, also with NOINHERIT it could become the owner"
            )
        elif role not in standing.named:
            yield (
                f"{item.sql} is append_only, and {role!r}, which the wish does not know, is a member of {owners[0]!r}, "
                f"which owns {guards[owners[0]]}; name it in roles, or run 'REVOKE {owners[0]} FROM {role}'"
            )


def _sequence_problems(schema: Schema, item: Item, contents: Contents, guards: Mapping[str, str]) -> Iterator[str]:
    for place in contents.numbering.get((item.schema, item.name), ()):
        sequence = contents.item("SEQUENCE", *place)
        if sequence is None or not sequence.managed:
            continue
        for grant in (grant for rule in rules_of(schema, sequence) for grant in rule.grants):
            if grant.role not in guards and {"UPDATE", ALL} & set(grant.privileges):
                yield (
                    f"{item.sql} is append_only, and {grant.role!r} would have UPDATE on {sequence.sql}, which numbers "
                    "its rows, and so could set it back; accepted are USAGE and SELECT"
                )


def effective(wish: Wish, cluster: Cluster, contents: Mapping[str, Contents]) -> list[str]:
    """Return who, as the server itself sees it, may tamper although nothing is left to change."""
    standing = Standing(wish, cluster)
    found = []
    for database in wish.databases:
        inside = contents[database.name]
        owners = {
            place: set(_guards(database, schema, item, cluster, inside))
            for schema, item in tables(database, inside)
            for place in ((item.schema, item.name), *inside.numbering.get((item.schema, item.name), ()))
        }
        for schema_name, name, role, privilege in inside.effective:
            guards = owners.get((schema_name, name))
            if guards is not None and not standing.reach(role) & guards:
                found.append(
                    f"{role!r} has {privilege} on {qualified(schema_name, name)}, which is append_only, or "
                    "has it from a group; take the privilege or the membership away"
                )
    return found
