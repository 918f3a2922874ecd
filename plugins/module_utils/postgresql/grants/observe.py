# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what a cluster and a database hold: one statement each, whatever the number of objects and roles.

No object is locked, only the catalogue is read.
"""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import fields

from ..names import literal
from ..server import Server
from .model import TAMPERING, Database, Wish, is_pattern
from .state import Cluster, Contents, DefaultEntry, Entry, Item, Membership, RoleState

SETTINGS_WITH_PRIVILEGES = 15
SEPARATE_MEMBERSHIP_OPTIONS = 16
DEFAULT_KINDS = {"r": "TABLE", "S": "SEQUENCE", "f": "ROUTINE", "T": "TYPE", "n": "SCHEMA"}

# Each pair of roles has its privileges in one text, those that may be passed on with a star.
EXPLODED = """(
  SELECT coalesce(json_agg(json_build_array(CASE grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(grantee) END,
                                            pg_get_userbyid(grantor), granted)), '[]')
  FROM (SELECT grantee, grantor, string_agg(privilege_type || CASE WHEN is_grantable THEN '*' ELSE '' END, ',')
        FROM aclexplode({acl}) GROUP BY 1, 2) AS pair(grantee, grantor, granted))"""
HELD = "EXISTS (SELECT FROM aclexplode({acl}) WHERE grantee IN (TABLE named) OR grantor IN (TABLE named))"
SETTINGS = """
  UNION ALL SELECT 'PARAMETER', parname, 10, paracl FROM pg_parameter_acl WHERE {held}"""
CLUSTER = """
WITH named AS (SELECT oid FROM pg_authid WHERE rolname = ANY({named})),
others(kind, name, owner, acl) AS (
  SELECT 'TABLESPACE', spcname, spcowner, spcacl FROM pg_tablespace WHERE {held_tablespace}{settings}
)
SELECT json_build_object(
  'bootstrap', pg_get_userbyid(10),
  'session', current_user,
  'roles', (
    SELECT json_agg(json_build_array(rolname, rolcanlogin, rolinherit, rolsuper, rolcreaterole, rolcreatedb,
      rolreplication, rolbypassrls, rolconnlimit,
      CASE WHEN rolname = ANY({secret}) THEN coalesce(rolpassword, '') ELSE '' END,
      CASE WHEN a.oid IN (TABLE named) THEN (
        SELECT coalesce(json_agg(DISTINCT datname), '[]')
        FROM pg_shdepend s JOIN pg_database d
          ON d.oid = s.dbid OR (s.classid = 'pg_database'::regclass AND s.objid = d.oid)
        WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = a.oid AND s.deptype = 'o'
          AND datname <> ALL({databases_wished})) ELSE '[]' END))
    FROM pg_authid a),
  'members', (
    SELECT coalesce(json_agg(json_build_array(pg_get_userbyid(roleid), pg_get_userbyid(member),
      pg_get_userbyid(grantor), admin_option, {options})), '[]') FROM pg_auth_members),
  'databases', (
    SELECT coalesce(json_agg(json_build_array(datname, pg_get_userbyid(datdba), {databases})), '[]')
    FROM pg_database WHERE datname = ANY({databases_wished})),
  'others', (
    SELECT coalesce(json_agg(json_build_array(kind, name, pg_get_userbyid(owner), {others})), '[]') FROM others)
)::text"""
CONTENTS = """
WITH named AS (SELECT oid FROM pg_authid WHERE rolname = ANY({named})),
found(class, oid, kind, schema, name, arguments, owner, acl, code) AS (
  SELECT 'pg_namespace'::regclass, oid, 'SCHEMA', '', nspname, '', nspowner, nspacl, 'n' FROM pg_namespace
  UNION ALL
  SELECT 'pg_class'::regclass, c.oid, CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, nspname, relname, '',
    relowner, relacl, CASE relkind WHEN 'S' THEN 's' ELSE 'r' END
  FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
  WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND relpersistence <> 't'
  UNION ALL
  SELECT 'pg_proc'::regclass, p.oid, 'ROUTINE', nspname, proname,
    (SELECT coalesce(string_agg(format_type(type, NULL), ', ' ORDER BY place), '')
     FROM unnest(proargtypes) WITH ORDINALITY AS argument(type, place)), proowner, proacl, 'f'
  FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
  WHERE nspname = ANY({schemas}) OR proacl IS NOT NULL
  UNION ALL
  SELECT 'pg_type'::regclass, y.oid, 'TYPE', nspname, typname, '', typowner, typacl, 'T'
  FROM pg_type y JOIN pg_namespace n ON n.oid = typnamespace
  WHERE (nspname = ANY({schemas}) OR typacl IS NOT NULL) AND typisdefined AND typtype <> 'm'
    AND (typrelid = 0 OR EXISTS (SELECT FROM pg_class c WHERE c.oid = typrelid AND relkind = 'c'))
    AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = y.oid)
  UNION ALL
  SELECT 'pg_language'::regclass, oid, 'LANGUAGE', '', lanname, '', lanowner, lanacl, 'l' FROM pg_language
  UNION ALL
  SELECT 'pg_foreign_data_wrapper'::regclass, oid, 'FOREIGN DATA WRAPPER', '', fdwname, '', fdwowner, fdwacl, 'F'
  FROM pg_foreign_data_wrapper
  UNION ALL
  SELECT 'pg_foreign_server'::regclass, oid, 'FOREIGN SERVER', '', srvname, '', srvowner, srvacl, 'S'
  FROM pg_foreign_server
),
judged AS (
  SELECT f.*, (schema = ANY({schemas}) OR (kind = 'SCHEMA' AND name = ANY({schemas}))) AND NOT EXISTS (
      SELECT FROM pg_depend d WHERE d.classid = f.class AND d.objid = f.oid AND d.deptype = 'e') AS managed
  FROM found f),
items AS (
  SELECT j.*, coalesce(acl, acldefault(code::"char", owner)) AS actual FROM judged j
  WHERE managed OR kind = 'SCHEMA' OR (acl IS NOT NULL AND {held})
    OR (class = 'pg_class'::regclass AND EXISTS (
      SELECT FROM pg_attribute a WHERE a.attrelid = j.oid AND attacl IS NOT NULL AND {held_column}))),
relations AS (SELECT * FROM items WHERE class = 'pg_class'::regclass),
guarded AS (
  SELECT DISTINCT i.oid FROM relations i JOIN unnest({guarded_schemas}, {guarded_tables})
    AS rule(schema, pattern) ON rule.schema = i.schema AND i.name ~ rule.pattern WHERE i.kind = 'TABLE' AND i.managed),
numbering AS (
  SELECT d.objid AS sequence, d.refobjid AS table FROM pg_depend d JOIN relations i ON i.oid = d.objid
  WHERE i.kind = 'SEQUENCE' AND d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
    AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')),
people AS (SELECT oid, rolname FROM pg_roles WHERE NOT rolsuper AND oid >= 16384)
SELECT json_build_object(
  'items', (
    SELECT coalesce(json_agg(json_build_array(kind, schema, name, pg_get_userbyid(owner), {items}, managed,
      kind = 'SEQUENCE' AND EXISTS (SELECT FROM numbering WHERE sequence = i.oid), arguments,
      CASE WHEN class = 'pg_class'::regclass THEN (
        SELECT coalesce(json_agg(json_build_array(attname, {columns})), '[]') FROM pg_attribute a
        WHERE attrelid = i.oid AND attnum > 0 AND NOT attisdropped) ELSE '[]' END)), '[]')
    FROM items i),
  'defaults', (
    SELECT coalesce(json_agg(json_build_array(pg_get_userbyid(defaclrole), coalesce(nspname, ''), defaclobjtype,
      {defaults})), '[]')
    FROM pg_default_acl LEFT JOIN pg_namespace n ON n.oid = defaclnamespace),
  'numbering', (
    SELECT coalesce(json_agg(json_build_array(x.schema, x.name, s.schema, s.name)), '[]')
    FROM numbering m JOIN relations x ON x.oid = m.table JOIN relations s ON s.oid = m.sequence),
  'effective', (
    SELECT coalesce(json_agg(json_build_array(schema, name, rolname, privilege)), '[]') FROM (
      SELECT i.schema, i.name, rolname, privilege
      FROM guarded g JOIN relations i ON i.oid = g.oid CROSS JOIN people p CROSS JOIN unnest({tampering}) AS privilege
      WHERE has_table_privilege(p.oid, i.oid, privilege)
        OR (privilege IN ('UPDATE', 'REFERENCES') AND has_any_column_privilege(p.oid, i.oid, privilege))
      UNION ALL
      SELECT i.schema, i.name, rolname, 'UPDATE'
      FROM guarded g JOIN numbering m ON m.table = g.oid JOIN relations i ON i.oid = m.sequence CROSS JOIN people p
      WHERE has_sequence_privilege(p.oid, i.oid, 'UPDATE')) AS tampering)
)::text"""


def cluster(server: Server, wish: Wish, lock_timeout_seconds: int) -> Cluster:
    """Return what all databases share."""
    separate = server.major >= SEPARATE_MEMBERSHIP_OPTIONS
    settings = SETTINGS.format(held=HELD.format(acl="paracl")) if server.major >= SETTINGS_WITH_PRIVILEGES else ""
    found = _ask(
        server,
        CLUSTER.format(
            named=_texts(role.name for role in wish.roles),
            secret=_texts(role.name for role in wish.roles if role.password or role.verifier),
            databases_wished=_texts(database.name for database in wish.databases),
            held_tablespace=HELD.format(acl="spcacl"),
            settings=settings,
            options="inherit_option, set_option" if separate else "true, true",
            databases=EXPLODED.format(acl="coalesce(datacl, acldefault('d', datdba))"),
            others=EXPLODED.format(acl="acl"),
        ),
        lock_timeout_seconds,
    )
    return Cluster(
        server.major,
        found["session"],
        found["bootstrap"],
        {values[0]: _role(values) for values in found["roles"]},
        tuple(Membership(*membership) for membership in found["members"]),
        {name: Item("DATABASE", "", name, owner, _entries(pairs)) for name, owner, pairs in found["databases"]},
        tuple(Item(kind, "", name, owner, _entries(pairs)) for kind, name, owner, pairs in found["others"]),
    )


def contents(server: Server, wish: Wish, database: Database, lock_timeout_seconds: int) -> Contents:
    """Return what the session's database holds in the schemas of the wish, and for its roles everywhere."""
    guarded = [
        (schema.name, _expression(name))
        for schema in database.schemas
        for rule in schema.rules["TABLE"]
        if rule.append_only
        for name in rule.names
    ]
    found = _ask(
        server,
        CONTENTS.format(
            named=_texts(role.name for role in wish.roles),
            schemas=_texts(schema.name for schema in database.schemas),
            guarded_schemas=_texts(schema for schema, _pattern in guarded),
            guarded_tables=_texts(pattern for _schema, pattern in guarded),
            tampering=_texts(TAMPERING),
            held=HELD.format(acl="acl"),
            held_column=HELD.format(acl="attacl"),
            items=EXPLODED.format(acl="actual"),
            columns=EXPLODED.format(acl="attacl"),
            defaults=EXPLODED.format(acl="defaclacl"),
        ),
        lock_timeout_seconds,
    )
    numbering: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {}
    for table_schema, table, schema, sequence in found["numbering"]:
        key = (table_schema, table)
        numbering[key] = (*numbering.get(key, ()), (schema, sequence))
    return Contents(
        database.name,
        tuple(_item(*values) for values in found["items"]),
        tuple(
            DefaultEntry(creator, schema, DEFAULT_KINDS[kind], _entries(pairs))
            for creator, schema, kind, pairs in found["defaults"]
            if kind in DEFAULT_KINDS
        ),
        tuple((schema, name, role, privilege) for schema, name, role, privilege in found["effective"]),
        numbering,
    )


def _ask(server: Server, query: str, lock_timeout_seconds: int) -> dict[str, t.Any]:
    # In one message with the query, for the whole session: also the catalogue can be locked by somebody.
    answer: dict[str, t.Any] = json.loads(server.value(f"SET lock_timeout = '{lock_timeout_seconds}s'; {query}"))
    return answer


def _texts(values: t.Iterable[str]) -> str:
    return f"ARRAY[{', '.join(literal(value) for value in values)}]::text[]"


def _role(values: list[t.Any]) -> RoleState:
    named = dict(zip((field.name for field in fields(RoleState)), values))
    return RoleState(**{**named, "elsewhere": tuple(named["elsewhere"])})


def _item(
    kind: str,
    schema: str,
    name: str,
    owner: str,
    pairs: list[list[str]],
    managed: bool,
    linked: bool,
    arguments: str,
    columns: list[tuple[str, list[list[str]]]],
) -> Item:
    entries = _entries(pairs) + tuple(entry for column, held in columns for entry in _entries(held, column))
    return Item(
        kind, schema, name, owner, entries, managed, linked, arguments, tuple(column for column, _held in columns)
    )


def _entries(pairs: list[list[str]], column: str = "") -> tuple[Entry, ...]:
    return tuple(
        Entry(grantee, grantor, privilege.rstrip("*"), column, privilege.endswith("*"))
        for grantee, grantor, granted in pairs
        for privilege in granted.split(",")
    )


def _expression(pattern: str) -> str:
    """Return a name or a pattern of the wish as a regular expression of the server."""
    if not is_pattern(pattern):
        return "^" + re.sub(r"(\W)", r"\\\1", pattern) + "$"
    return "^" + "".join({"*": ".*", "?": "."}.get(c, re.sub(r"(\W)", r"\\\1", c)) for c in pattern) + "$"
