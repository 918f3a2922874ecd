# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the catalogues of all databases say about roles, privileges, audit tables and their triggers, asked by psql.

Nothing here is shared with what grants, revokes and installs.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..host import Host
from ..model import Item, Observation, Unreadable, item, observation
from ..parameters import Parameter, Parameters
from ..reader import Reader
from .postgresql import NOTHING, PLACE, there

CHANGING = ("UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
# Whoever is in one of these reads, writes or runs what no privilege says.
FAR_REACHING = (
    "pg_write_all_data",
    "pg_read_server_files",
    "pg_write_server_files",
    "pg_execute_server_program",
    "pg_create_subscription",
    "pg_maintain",
)
POWERS = ("CREATEROLE", "CREATEDB", "REPLICATION", "BYPASSRLS")
# Bits of tgtype.
ROW, BEFORE, INSERT, DELETE, UPDATE, TRUNCATE = 1, 2, 4, 8, 16, 32
ALWAYS = "A"
CLUSTER = """
SELECT pg_catalog.json_build_object(
 'roles', (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(rolname, rolcanlogin, rolsuper, rolcreaterole,
           rolcreatedb, rolreplication, rolbypassrls)) FROM pg_catalog.pg_roles),
 'members', (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(m.rolname, g.rolname))
             FROM pg_catalog.pg_auth_members a JOIN pg_catalog.pg_roles m ON m.oid = a.member
             JOIN pg_catalog.pg_roles g ON g.oid = a.roleid),
 'databases', (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(datname, pg_catalog.pg_get_userbyid(datdba),
               (SELECT pg_catalog.json_agg(e.privilege_type) FROM pg_catalog.aclexplode(
                coalesce(datacl, pg_catalog.acldefault('d', datdba))) e WHERE e.grantee = 0)) ORDER BY datname)
               FROM pg_catalog.pg_database WHERE datallowconn AND NOT datistemplate))
"""
# Of everything but what the server and its extensions bring.
DATABASE = """
WITH own AS (
 SELECT n.oid, n.nspname FROM pg_catalog.pg_namespace n
 WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
), of_extensions AS (
 SELECT classid, objid FROM pg_catalog.pg_depend WHERE deptype = 'e'
), relation AS (
 SELECT c.oid, o.nspname, c.relname, c.relkind, c.relowner, c.relacl FROM pg_catalog.pg_class c JOIN own o
 ON o.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
 AND NOT EXISTS (SELECT FROM of_extensions e WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = c.oid)
), routine AS (
 SELECT p.oid, o.nspname, p.proname, p.proowner, p.proacl, p.prosecdef FROM pg_catalog.pg_proc p JOIN own o
 ON o.oid = p.pronamespace
 WHERE NOT EXISTS (SELECT FROM of_extensions e WHERE e.classid = 'pg_catalog.pg_proc'::regclass AND e.objid = p.oid)
), object AS (
 SELECT 'relation' AS kind, pg_catalog.format('%I.%I', nspname, relname) AS name, relowner AS owner,
  coalesce(relacl, pg_catalog.acldefault(CASE relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, relowner)) AS acl
  FROM relation
 UNION ALL SELECT 'function', pg_catalog.format('%I.%I', nspname, proname), proowner,
  coalesce(proacl, pg_catalog.acldefault('f', proowner)) FROM routine
 UNION ALL SELECT 'schema', pg_catalog.format('%I', o.nspname), n.nspowner,
  coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner))
  FROM own o JOIN pg_catalog.pg_namespace n ON n.oid = o.oid
 UNION ALL SELECT 'column', pg_catalog.format('%I.%I.%I', r.nspname, r.relname, a.attname), r.relowner, a.attacl
  FROM relation r JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid WHERE a.attacl IS NOT NULL
)
SELECT pg_catalog.json_build_object(
 'owned', (SELECT pg_catalog.json_agg(DISTINCT pg_catalog.jsonb_build_array(pg_catalog.pg_get_userbyid(owner), kind,
           name)) FROM object WHERE kind <> 'column'),
 'granted', (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(
             CASE e.grantee WHEN 0 THEN '' ELSE pg_catalog.pg_get_userbyid(e.grantee) END, kind, name,
             e.privilege_type)) FROM object, pg_catalog.aclexplode(acl) e WHERE e.grantee <> owner),
 'definers', (SELECT pg_catalog.json_agg(pg_catalog.format('%I.%I', nspname, proname)) FROM routine WHERE prosecdef),
 'tables', (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(nspname, relname,
            pg_catalog.pg_get_userbyid(relowner), pg_catalog.format('%I.%I', nspname, relname)))
            FROM relation WHERE relkind IN ('r', 'p')),
 'rules', (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(r.nspname, r.relname, w.rulename))
           FROM pg_catalog.pg_rewrite w JOIN relation r ON r.oid = w.ev_class WHERE r.relkind IN ('r', 'p')),
 'triggers', (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(r.nspname, r.relname, t.tgname, t.tgenabled,
              t.tgtype, n.nspname, p.prosecdef, pg_catalog.pg_get_userbyid(p.proowner),
              pg_catalog.pg_get_triggerdef(t.oid) || p.prosrc))
              FROM pg_catalog.pg_trigger t JOIN relation r ON r.oid = t.tgrelid
              JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
              WHERE NOT t.tgisinternal),
 'event_triggers', (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(e.evtevent, e.evtenabled, n.nspname))
              FROM pg_catalog.pg_event_trigger e JOIN pg_catalog.pg_proc p ON p.oid = e.evtfoid
              JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace))
"""
# Where a request was approved and nothing has come of it.
STUCK = """
SELECT pg_catalog.count(*) FROM {table} WHERE state = 'APPROVED'
AND updated_at < pg_catalog.now() - pg_catalog.make_interval(mins => {minutes})
"""


# Asking


def ask(host: Host, parameters: Parameters, database: str, query: str) -> Any:
    words = (
        *("runuser", "-u", parameters["system_user"], "--", "psql", "-XAtqw", "-d", database),
        *("-h", parameters["socket_directory"], "-p", str(parameters["port"]), "-c", query),
    )
    text = host.output(*words)
    try:
        return json.loads(text)
    except ValueError as error:
        raise Unreadable(f"psql answered something else than JSON: {text[:100]!r}") from error


@dataclass(frozen=True)
class Roles:
    """Who may log in, who is a superuser, and who is in which role, directly or by another one."""

    logins: frozenset[str]
    superusers: frozenset[str]
    powers: Mapping[str, Sequence[str]]
    memberships: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Roles:
        direct: dict[str, set[str]] = {}
        for member, group in answer["members"] or []:
            direct.setdefault(member, set()).add(group)
        rows = answer["roles"] or []
        return cls(
            frozenset(row[0] for row in rows if row[1]),
            frozenset(row[0] for row in rows if row[2]),
            {row[0]: [power for power, has in zip(POWERS, row[3:]) if has] for row in rows},
            {row[0]: closure(row[0], direct) for row in rows},
        )

    @property
    def ordinary(self) -> list[str]:
        """The roles that may log in and are no superusers."""
        return sorted(self.logins - self.superusers)


def closure(role: str, direct: Mapping[str, Collection[str]]) -> frozenset[str]:
    found: set[str] = set()
    rest = [role]
    while rest:
        for group in direct.get(rest.pop(), ()):
            if group not in found:
                found.add(group)
                rest.append(group)
    return frozenset(found)


def cluster(host: Host, parameters: Parameters) -> tuple[Roles, list[tuple[str, str, list[str]]]]:
    answer = ask(host, parameters, "postgres", CLUSTER)
    return Roles.of(answer), [(name, owner, public or []) for name, owner, public in answer["databases"] or []]


@dataclass(frozen=True)
class Table:
    """A table of a service; ``spelled`` is its name with its schema, as SQL takes it."""

    schema: str
    name: str
    owner: str
    spelled: str


def found_tables(wanted: Sequence[str], answer: Mapping[str, Any]) -> Iterator[Table]:
    """Yield the tables that are meant; a name without a schema is one of any schema."""
    for row in answer["tables"] or []:
        table = Table(*row)
        if table.name in wanted or f"{table.schema}.{table.name}" in wanted:
            yield table


def everywhere(
    host: Host, parameters: Parameters, databases: Sequence[tuple[str, str, list[str]]]
) -> Iterator[tuple[str, Mapping[str, Any], Table]]:
    """Yield each table that is meant, with its database and what that says of itself."""
    for database, _owner, _public in databases:
        answer = ask(host, parameters, database, DATABASE)
        for table in found_tables(parameters["tables"], answer):
            yield database, answer, table


def fact(name: str, passed: bool, expected: str, otherwise: str) -> Item:
    """Return an item of which only a failure has something of its own to show."""
    return item(name, passed, expected, expected if passed else otherwise)


# Roles apart


def role_separation(host: Host, parameters: Parameters) -> Observation:
    """Check that roles that log in own nothing and have their privileges by a group that cannot log in.

    ``except_roles``: roles that are not looked at.
    ``socket_directory``, ``port``, ``system_user``: where the server listens, and as whom it runs.
    """
    if not there(host, parameters):
        return observation([], "psql", NOTHING)
    roles, databases = cluster(host, parameters)
    looked_at = [name for name in roles.ordinary if name not in parameters["except_roles"]]
    items = []
    for database, owner, _public in databases:
        if owner in looked_at:
            items.append(fact(f"database {database}", False, "owned by no role that logs in", f"is owned by {owner}"))
        answer = ask(host, parameters, database, DATABASE)
        for role in looked_at:
            owned = sorted(f"{kind} {name}" for who, kind, name in answer["owned"] or [] if who == role)
            granted = sorted({f"{kind} {name}" for who, kind, name, _right in answer["granted"] or [] if who == role})
            label = f"role {role} in {database}"
            items.append(fact(label, not owned, "owns nothing", f"owns {some(owned)}"))
            items.append(fact(label, not granted, "has privileges by a group", f"has its own on {some(granted)}"))
    return observation(items, "pg_class, pg_proc, pg_namespace, pg_database", "no role but superusers logs in")


def some(names: Sequence[str]) -> str:
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (", ".join(names[:3]) or "nothing") + rest


# Least privilege


def least_privilege(host: Host, parameters: Parameters) -> Observation:
    """Check that PUBLIC and roles that log in have nothing that makes privileges pointless.

    ``except_databases``: databases that hold nothing of a service.
    ``socket_directory``, ``port``, ``system_user``: where the server listens, and as whom it runs.
    """
    if not there(host, parameters):
        return observation([], "psql", NOTHING)
    roles, databases = cluster(host, parameters)
    items = []
    for role in roles.ordinary:
        powers = roles.powers[role]
        items.append(fact(f"role {role}", not powers, "without further powers", f"has {', '.join(powers)}"))
        reach = sorted({*FAR_REACHING, *roles.superusers} & roles.memberships[role])
        items.append(fact(f"role {role}", not reach, "in no far-reaching role", f"is in {', '.join(reach)}"))
    for database, _owner, public in databases:
        if database in parameters["except_databases"]:
            continue
        answer = ask(host, parameters, database, DATABASE)
        found = [f"{right} on the database" for right in public]
        found += [
            f"{right} on {kind} {name}"
            for who, kind, name, right in answer["granted"] or []
            if not who and opens(kind, name, right, answer["definers"] or [])
        ]
        items.append(fact(f"PUBLIC in {database}", not found, "has no privileges", f"has {some(sorted(found))}"))
    return observation(items, "pg_roles, pg_auth_members, access lists")


def opens(kind: str, name: str, right: str, definers: Collection[str]) -> bool:
    """Return whether a privilege of everybody is one too many: a function that runs as its caller gives nothing."""
    if kind == "function":
        return name in definers
    return kind != "schema" or right == "CREATE"


# Append-only


def append_only(host: Host, parameters: Parameters) -> Observation:
    """Check that audit tables can only be added to, by anybody but their owner, who cannot log in; and that a timer
    looks at that.

    ``tables``: the audit tables, as table or schema.table. ``migration_roles``: roles that may become the owner.
    ``timer``: the unit that looks again and again; empty for none.
    ``socket_directory``, ``port``, ``system_user``: where the server listens, and as whom it runs.
    """
    if not there(host, parameters):
        return observation([], "psql", NOTHING)
    roles, databases = cluster(host, parameters)
    items: list[Item] = []
    for database, answer, table in everywhere(host, parameters, databases):
        items += table_items(f"{database}: {table.spelled}", table, answer, roles, parameters)
    if items and parameters["timer"]:
        done = host.run("systemctl", "is-active", parameters["timer"])
        items.append(fact(parameters["timer"], done.ok, "waits", done.output.strip() or "does not wait"))
    return observation(items, "psql, systemctl", "no database has an audit table")


def table_items(
    label: str, table: Table, answer: Mapping[str, Any], roles: Roles, parameters: Parameters
) -> Iterator[Item]:
    apart = table.owner not in roles.logins
    yield fact(label, apart, "owned by a role that cannot log in", f"is owned by {table.owner}")
    allowed = set(parameters["migration_roles"])
    become = sorted(role for role in roles.ordinary if table.owner in roles.memberships[role] and role not in allowed)
    yield fact(label, not become, "nobody who logs in can become its owner", f"{', '.join(become)} can")
    column = f"{table.spelled}."
    rights = sorted(
        f"{who or 'PUBLIC'} has {right} on {place}"
        for who, kind, place, right in answer["granted"] or []
        if right in CHANGING
        and ((kind == "relation" and place == table.spelled) or (kind == "column" and place.startswith(column)))
    )
    yield fact(label, not rights, "nobody but its owner can change rows", some(rights))
    far = sorted(role for role in roles.ordinary if "pg_write_all_data" in roles.memberships[role])
    yield fact(label, not far, "nobody can write everywhere", f"{', '.join(far)} can")
    here = (table.schema, table.name)
    rules = [rule for schema, name, rule in answer["rules"] or [] if (schema, name) == here]
    yield fact(label, not rules, "no rule rewrites statements", f"has the rule {some(rules)}")


# Transition log


def transition_log(host: Host, parameters: Parameters) -> Observation:
    """Check that every change of a state leaves a record in the same transaction, and changes of the objects do.

    ``tables``: the tables that hold states. ``log_schema``: where the log and its functions are.
    ``socket_directory``, ``port``, ``system_user``: where the server listens, and as whom it runs.
    """
    if not there(host, parameters):
        return observation([], "psql", NOTHING)
    roles, databases = cluster(host, parameters)
    items: list[Item] = []
    told: set[str] = set()
    for database, answer, table in everywhere(host, parameters, databases):
        made = recorders(table, answer, roles, parameters["log_schema"])
        for event, bit in (("INSERT", INSERT), ("UPDATE", UPDATE), ("DELETE", DELETE)):
            recorded = any(kind & ROW and not kind & BEFORE and kind & bit for kind in made)
            label = f"{database}: {event} on {table.spelled}"
            items.append(fact(label, recorded, "is recorded", "is not recorded"))
        kept = any(kind & TRUNCATE for kind in made)
        items.append(fact(f"{database}: TRUNCATE on {table.spelled}", kept, "is refused or recorded", "is neither"))
        if database not in told:
            told.add(database)
            missing = missing_events(answer, parameters["log_schema"])
            items.append(fact(f"{database}: changes of objects", not missing, "are recorded", f"no {some(missing)}"))
    return observation(items, "pg_trigger, pg_event_trigger", "no database has a table of states")


def missing_events(answer: Mapping[str, Any], log_schema: str) -> list[str]:
    """Return the events that no trigger of the log fires on, whatever the session says."""
    events = {
        event for event, enabled, place in answer["event_triggers"] or [] if enabled == ALWAYS and place == log_schema
    }
    return sorted({"ddl_command_end", "sql_drop"} - events)


def recorders(table: Table, answer: Mapping[str, Any], roles: Roles, log_schema: str) -> list[int]:
    """Return what the triggers fire on whose functions write as a role that nobody logs in with."""
    return [
        kind
        for schema, name, _trigger, enabled, kind, place, definer, owner, _text in answer["triggers"] or []
        if (schema, name, place) == (table.schema, table.name, log_schema) and enabled == ALWAYS
        # One that refuses writes nothing, and needs no rights of another.
        if (definer and owner not in roles.logins) or kind & BEFORE or kind & TRUNCATE
    ]


# Guards


def approval_guards(host: Host, parameters: Parameters) -> Observation:
    """Check that the database refuses an approval without another person's name, and that none is left lying.

    ``tables``: the tables that hold requests, with state, requester_identity, approver_identity and updated_at.
    ``stuck_minutes``: how long a request may be approved without more happening.
    ``socket_directory``, ``port``, ``system_user``: where the server listens, and as whom it runs.
    """
    if not there(host, parameters):
        return observation([], "psql", NOTHING)
    _roles, databases = cluster(host, parameters)
    items: list[Item] = []
    for database, answer, table in everywhere(host, parameters, databases):
        label = f"{database}: {table.spelled}"
        guarded = any(guards(row) for row in answer["triggers"] or [] if row[:2] == [table.schema, table.name])
        items.append(fact(label, guarded, "refuses an approval by the requester", "has no such trigger"))
        minutes = int(parameters["stuck_minutes"])
        count = ask(host, parameters, database, STUCK.format(table=table.spelled, minutes=minutes))
        stuck = f"{count} approved for more than {minutes} minutes"
        items.append(fact(label, not count, "no request is left approved", stuck))
    return observation(items, "pg_trigger, rows", "no database has a table of requests")


def guards(row: Sequence[Any]) -> bool:
    """Return whether a trigger looks at both names whenever a request is written."""
    enabled, kind, text = row[3], row[4], row[8]
    fires = enabled == ALWAYS and all(kind & bit for bit in (ROW, INSERT, UPDATE))
    return fires and "approver_identity" in text and "requester_identity" in text


READERS: Mapping[str, Reader] = {
    "postgresql_role_separation": Reader(role_separation, {**PLACE, "except_roles": Parameter("texts", default=[])}),
    "postgresql_least_privilege": Reader(
        least_privilege, {**PLACE, "except_databases": Parameter("texts", default=["postgres"])}
    ),
    "postgresql_append_only": Reader(
        append_only,
        {
            **PLACE,
            "tables": Parameter("texts", required=True),
            "migration_roles": Parameter("texts", default=[]),
            "timer": Parameter("text", default=""),
        },
    ),
    "postgresql_transition_log": Reader(
        transition_log,
        {
            **PLACE,
            "tables": Parameter("texts", required=True),
            "log_schema": Parameter("text", default="bulwark_audit"),
        },
    ),
    "postgresql_approval_guards": Reader(
        approval_guards,
        {**PLACE, "tables": Parameter("texts", required=True), "stuck_minutes": Parameter("number", default=15)},
    ),
}
