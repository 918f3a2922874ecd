# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wished against actual state: statements in order, and what the wish names but the server does not have; pure."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from .. import scram
from ..names import identifier, literal
from . import privileges as acl
from .model import ATTRIBUTES, PRIVILEGES, PUBLIC, Database, Grant, Role, Rule, Schema, Wish, expanded
from .privileges import Key, Statement
from .standing import Standing
from .state import Cluster, Contents, Entry, Item, Membership, born_with, own_privileges

SEPARATE_MEMBERSHIP_OPTIONS = 16


@dataclass(frozen=True)
class ClusterPlan:
    """What changes in the part that all databases share; ``roles`` holds the passwords and goes unlogged, if any."""

    roles: tuple[Statement, ...] = ()
    rest: tuple[Statement, ...] = ()

    @property
    def statements(self) -> tuple[Statement, ...]:
        """All of it, in order."""
        return (*self.roles, *self.rest)


def plan_cluster(wish: Wish, cluster: Cluster, new_verifier: Callable[[str], str] = scram.verifier) -> ClusterPlan:
    """Return the changes of roles, memberships, and of owners and privileges of databases."""
    named = {role.name for role in wish.roles}
    moved = [statement for role in wish.roles for statement in _role(role, cluster, new_verifier)]
    rest = list(_memberships(wish, cluster))
    steps: list[acl.Step] = []
    for database in wish.databases:
        item = cluster.databases.get(database.name) or new_item(database.name, cluster)
        if database.owner and item.owner != database.owner:
            rest.append(_owner(item, database.owner))
            item = item.owned_by(database.owner)
        steps += acl.steps(item, wished_keys(item, database.grants, cluster.major))
    for item in cluster.others:
        steps += acl.steps(item, (), _held_by(item, named))
    return ClusterPlan(tuple(moved), (*rest, *acl.statements(steps, {})))


def new_item(name: str, cluster: Cluster) -> Item:
    """Return a database as CREATE DATABASE leaves it."""
    return Item("DATABASE", "", name, cluster.session, born_with("DATABASE", cluster.session, cluster.major))


def create_database(name: str) -> Statement:
    """Return the statement that makes a database, which belongs to the administrator until the owner is set."""
    sql = f"CREATE DATABASE {identifier(name)} TEMPLATE template0 ENCODING 'UTF8'"
    return Statement(sql, (), (f"database {identifier(name)}",))


def plan_database(wish: Wish, database: Database, cluster: Cluster, contents: Contents) -> tuple[Statement, ...]:
    """Return the changes inside of one database."""
    named = {role.name for role in wish.roles}
    schemas = {schema.name: schema for schema in database.schemas}
    result: list[Statement] = []
    steps: list[acl.Step] = []
    present = {item.name for item in contents.items if item.kind == "SCHEMA"}
    made = [
        _new_schema(schema, cluster, contents)
        for schema in database.schemas
        if schema.owner and schema.name not in present
    ]
    for item in made:
        sql = f"CREATE SCHEMA {item.sql} AUTHORIZATION {identifier(item.owner)}"
        result.append(Statement(sql, (), (f"schema {item.sql} of {item.owner}",)))
    places: dict[str, Item] = {}
    # Owners of schemas change first, and with them who may look into these.
    for found in sorted((*contents.items, *made), key=lambda item: (item.kind != "SCHEMA", item.kind, item.sql)):
        item = found
        if not item.managed:
            if item.kind == "SCHEMA":
                places[item.name] = item
            steps += acl.steps(item, (), _held_by(item, named))
            continue
        schema = schemas[item.schema or item.name]
        owner = schema.owner if item.kind == "SCHEMA" else schema.objects_owner
        if owner and owner != item.owner:
            if not item.linked:
                result.append(_owner(item, owner))
            item = item.owned_by(owner)
        if item.kind == "SCHEMA":
            places[item.name] = item
            steps += acl.steps(item, wished_keys(item, schema.grants, cluster.major))
        elif item.kind in schema.rules:
            grants = [grant for rule in rules_of(schema, item) for grant in rule.grants]
            steps += acl.steps(item, wished_keys(item, grants, cluster.major))
    return (*result, *acl.statements(steps, places), *_defaults(wish, database, cluster, contents))


def rules_of(schema: Schema, item: Item) -> list[Rule]:
    """Return the rules that are about an object of the schema."""
    return [rule for rule in schema.rules.get(item.kind, ()) if rule.covers(item.name)]


def wished_keys(item: Item, grants: Iterable[Grant], major: int) -> set[Key]:
    """Return each privilege that the grants give on the object; its owner has all, unless they name the owner."""
    keys = {
        (grant.role, privilege, column)
        for grant in grants
        for privilege in expanded(grant.privileges, item.kind, major)
        for column in grant.columns or ("",)
        if not column or column in item.columns
    }
    if any(grantee == item.owner for grantee, _privilege, _column in keys):
        return keys
    return keys | {acl.key_of(entry) for entry in own_privileges(item.kind, item.owner, major)}


def _held_by(item: Item, named: set[str]) -> Callable[[Entry], bool]:
    return lambda entry: entry.grantee != item.owner and bool(named & {entry.grantee, entry.grantor})


def _owner(item: Item, owner: str) -> Statement:
    facts = [f"{item.kind.lower()} {item.sql}: owner {name}" for name in (item.owner, owner)]
    return Statement(f"ALTER {item.kind} {item.sql} OWNER TO {identifier(owner)}", (facts[0],), (facts[1],))


def _new_schema(schema: Schema, cluster: Cluster, contents: Contents) -> Item:
    found = [entry.entries for entry in contents.defaults if (entry.creator, entry.kind) == (schema.owner, "SCHEMA")]
    entries = found[0] if found else born_with("SCHEMA", schema.owner, cluster.major)
    return Item("SCHEMA", "", schema.name, schema.owner, tuple(entries))


def _role(role: Role, cluster: Cluster, new_verifier: Callable[[str], str]) -> Iterator[Statement]:
    found = cluster.roles.get(role.name)
    wished = {name: getattr(role, name) for name in (*ATTRIBUTES, "connection_limit")}
    before = {} if found is None else {name: getattr(found, name) for name in wished}
    changed = [name for name in wished if before.get(name) != wished[name]]
    if changed:
        verb = "ALTER" if found else "CREATE"
        old, new = (
            (f"role {identifier(role.name)}: {' '.join(_attribute(name, values[name]) for name in changed)}",)
            if values
            else ()
            for values in (before, wished)
        )
        attributes = " ".join(_attribute(name, wished[name]) for name in changed)
        yield Statement(f"{verb} ROLE {identifier(role.name)} {attributes}", old, new)
    stored = found.verifier if found else ""
    verifier = role.verifier
    if role.password:
        verifier = stored if scram.matches(stored, role.password) else new_verifier(role.password)
    if verifier and verifier != stored:
        secret = literal(verifier)
        fact = f"role {identifier(role.name)}: password "
        yield Statement(
            f"ALTER ROLE {identifier(role.name)} PASSWORD {secret}", (f"{fact}before",), (f"{fact}as wished",), secret
        )


def _attribute(name: str, value: t.Any) -> str:
    if name == "connection_limit":
        return f"CONNECTION LIMIT {value}"
    return name.upper() if value else f"NO{name.upper()}"


def _memberships(wish: Wish, cluster: Cluster) -> Iterator[Statement]:
    separate = cluster.major >= SEPARATE_MEMBERSHIP_OPTIONS
    gone: set[Membership] = set()
    demoted: set[Membership] = set()
    granted: list[tuple[str, Role]] = []
    for role in wish.roles:
        mine = [found for found in cluster.memberships if found.member == role.name]
        gone |= {found for found in mine if found.role not in role.member_of}
        for group in role.member_of:
            right = False
            for found in (found for found in mine if found.role == group):
                good = not separate or (found.inherit == role.inherit and found.set)
                if not good and found.grantor != cluster.bootstrap:
                    gone.add(found)
                    continue
                if found.admin:
                    demoted.add(found)
                right = right or good
            if not right:
                granted.append((group, role))
    lost = gone | demoted
    if separate:
        _add_dependent_memberships(cluster.memberships, gone, demoted)
        lost = gone | demoted
    for found in _members_first(lost):
        grantor = f" GRANTED BY {identifier(found.grantor)}" if separate and found.grantor != cluster.bootstrap else ""
        option = "ADMIN OPTION FOR " if found not in gone else ""
        fact = f"role {identifier(found.member)}: {'administers' if option else 'member of'} {found.role}"
        yield Statement(f"REVOKE {option}{identifier(found.role)} FROM {identifier(found.member)}{grantor}", (fact,))
    for group, role in sorted(granted, key=lambda pair: (pair[0], pair[1].name)):
        options = f" WITH INHERIT {'TRUE' if role.inherit else 'FALSE'}, SET TRUE" if separate else ""
        yield Statement(
            f"GRANT {identifier(group)} TO {identifier(role.name)}{options}",
            (),
            (f"role {identifier(role.name)}: member of {group}",),
        )


def _rests_on(later: Membership, earlier: Membership) -> bool:
    return later is not earlier and earlier.admin and (later.role, later.grantor) == (earlier.role, earlier.member)


def _add_dependent_memberships(every: Sequence[Membership], gone: set[Membership], demoted: set[Membership]) -> None:
    found = True
    while found:
        lost = gone | demoted
        dependents = {
            member
            for member in every
            if member not in gone
            and any(_rests_on(member, other) for other in lost)
            and not any(_rests_on(member, other) for other in every if other not in lost)
        }
        gone |= dependents
        found = bool(dependents)


def _members_first(lost: set[Membership]) -> list[Membership]:
    """Return them so that what was passed on goes before the right to pass it on."""
    ordered: list[Membership] = []
    remaining = sorted(lost, key=lambda found: (found.role, found.member, found.grantor))
    while remaining:
        leaves = [found for found in remaining if not any(_rests_on(other, found) for other in remaining)] or remaining
        ordered += leaves
        remaining = [found for found in remaining if found not in leaves]
    return ordered


def _defaults(wish: Wish, database: Database, cluster: Cluster, contents: Contents) -> Iterator[Statement]:
    named = {role.name for role in wish.roles}
    schemas = {schema.name for schema in database.schemas}
    wished = {(entry.creator, entry.schema, entry.kind): entry.grants for entry in database.defaults}
    actual = {
        (entry.creator, entry.schema, entry.kind): entry.entries
        for entry in contents.defaults
        if entry.creator in named or entry.schema in schemas or (entry.creator, entry.schema, entry.kind) in wished
    }
    for creator, schema, kind in sorted({*wished, *actual}):
        born = () if schema else born_with(kind, creator, cluster.major)
        item = Item(kind, "", kind, creator, actual.get((creator, schema, kind), born))
        grants = wished.get((creator, schema, kind))
        if grants is None:
            keys = {acl.key_of(entry) for entry in born}
        else:
            keys = wished_keys(item, grants, cluster.major)
            if schema:
                # A set for one schema is added to the one for all, which holds what is the creator's own.
                keys = {
                    (grant.role, privilege, "")
                    for grant in grants
                    for privilege in expanded(grant.privileges, kind, cluster.major)
                }
        yield from acl.default_statements(creator, schema, acl.steps(item, keys))


def missing(database: Database, contents: Contents) -> list[str]:
    """Return what the wish names by its exact name, and the database does not have."""
    result: list[str] = []
    present = {(item.kind, item.schema, item.name): item for item in contents.items}
    for schema in database.schemas:
        if ("SCHEMA", "", schema.name) not in present and not schema.owner:
            result.append(f"schema {identifier(schema.name)}")
            continue
        for kind, rules in schema.rules.items():
            for rule in rules:
                absent = [name for name in rule.exact_names if (kind, schema.name, name) not in present]
                result += [f"{kind.lower()} {identifier(schema.name)}.{identifier(name)}" for name in absent]
                for name in rule.exact_names:
                    item = present.get((kind, schema.name, name))
                    named = sorted({column for grant in rule.grants for column in grant.columns}) if item else []
                    result += [f"column {identifier(c)} of {item.sql}" for c in named if item and c not in item.columns]
    known = {item.name for item in contents.items if item.kind == "SCHEMA"} | {
        schema.name for schema in database.schemas if schema.owner
    }
    result += [f"schema {identifier(e.schema)}" for e in database.defaults if e.schema and e.schema not in known]
    return list(dict.fromkeys(result))


def without_rule(database: Database, contents: Contents) -> list[str]:
    """Return the tables of the schemas of the wish that no rule is about; nobody but their owner gets at them."""
    schemas = {schema.name: schema for schema in database.schemas}
    return [
        item.sql
        for item in contents.items
        if item.managed and item.kind == "TABLE" and not rules_of(schemas[item.schema], item)
    ]


def without_missing_schemas(database: Database, contents: Contents) -> Database:
    """Return the wish without default privileges in schemas that do not exist."""
    known = {item.name for item in contents.items if item.kind == "SCHEMA"} | {
        schema.name for schema in database.schemas if schema.owner
    }
    return replace(database, defaults=tuple(e for e in database.defaults if not e.schema or e.schema in known))


def problems(wish: Wish, cluster: Cluster) -> list[str]:
    """Return why the wish cannot be brought to this cluster, or must not."""
    found: list[str] = []
    standing = Standing(wish, cluster)
    for role in wish.roles:
        name = repr(role.name)
        state = cluster.roles.get(role.name)
        if role.name in (cluster.session, cluster.bootstrap):
            found.append(f"{name} is the administrator's role, which is never changed; take it out of roles")
        elif state and state.elsewhere and not role.adopt:
            found.append(
                f"{name} owns objects in {', '.join(map(repr, state.elsewhere))}, which the wish does not name, so the "
                "role is somebody else's; name these databases, choose another role, or set adopt to true for it"
            )
        for group in role.member_of:
            other, wished = cluster.roles.get(group), wish.role(group)
            if (wished.superuser if wished else other is not None and other.superuser) and not role.superuser:
                found.append(
                    f"{name} would be a member of {group!r}, a superuser, and so one itself; take it out of member_of"
                )
            elif role.name in standing.reach(group):
                found.append(
                    f"{name} would be a member of {group!r}, which is one of {name} through roles that the wish does "
                    "not name; name these too, or take the membership away"
                )
    known = {*cluster.roles, *(role.name for role in wish.roles), PUBLIC}
    for place, role_name in _mentioned(wish):
        if role_name not in known:
            found.append(f"the role {role_name!r} of {place} does not exist; add it to roles, or correct the name")
    for database in wish.databases:
        if database.name not in cluster.databases and not database.owner:
            found.append(
                f"there is no database {database.name!r}; give it an owner, and it is made, or correct the name"
            )
    for grant, kind in _all_grants(wish):
        for privilege in grant.privileges:
            since = PRIVILEGES[kind].get(privilege, 0)
            if since > cluster.major:
                found.append(
                    f"{privilege} is wished for {grant.role!r}, and PostgreSQL {cluster.major} has it not; it came "
                    f"with version {since}"
                )
    return list(dict.fromkeys(found))


def _mentioned(wish: Wish) -> Iterator[tuple[str, str]]:
    for role in wish.roles:
        yield from ((f"member_of of {role.name!r}", group) for group in role.member_of)
    for database in wish.databases:
        place = f"the database {database.name!r}"
        owners = [database.owner, *(o for schema in database.schemas for o in (schema.owner, schema.objects_owner))]
        owners += [entry.creator for entry in database.defaults]
        yield from ((place, owner) for owner in owners if owner)
    for grant, _kind in _all_grants(wish):
        yield "a grant", grant.role


def _all_grants(wish: Wish) -> Iterator[tuple[Grant, str]]:
    for database in wish.databases:
        yield from ((grant, "DATABASE") for grant in database.grants)
        yield from ((grant, entry.kind) for entry in database.defaults for grant in entry.grants)
        for schema in database.schemas:
            yield from ((grant, "SCHEMA") for grant in schema.grants)
            yield from (
                (grant, kind) for kind, rules in schema.rules.items() for rule in rules for grant in rule.grants
            )


def facts(statements: Iterable[Statement]) -> Mapping[str, str]:
    """Return the facts before and after, one a line, for a diff."""
    done = list(statements)
    return {
        side: "".join(f"{fact}\n" for statement in done for fact in getattr(statement, side))
        for side in ("before", "after")
    }
