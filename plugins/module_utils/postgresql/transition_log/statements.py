# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The SQL that makes the log, as text. Pure.

A function that records runs inside the session of whoever changes a row, with more rights than he has. So it resolves
no name by the caller's search_path: all of them, operators and types too, are written with their schema. A SET clause
would do that as well, and costs several microseconds for each record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..names import identifier, literal, qualified
from .model import LOG_TABLE, RECORD, REFUSE_CHANGE, REFUSE_TRUNCATE, Guard, Policy, Table, function_name

INTERNAL_PATH = {"search_path": "pg_catalog, pg_temp"}
# With these, the text of a value depends on nothing that the session of the change has set.
PLAIN_TEXT = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
}
# Types whose text never depends on a setting, and the one that needs only the time zone.
INDEPENDENT = frozenset(
    ("boolean", "smallint", "integer", "bigint", "numeric", "text", "character", "character varying", "name", "uuid",
     "json", "jsonb", "inet", "cidr")
)  # fmt: skip
TIMESTAMP = "timestamp with time zone"
COLUMNS = {
    "epoch": "integer NOT NULL DEFAULT 1",
    "transaction_id": "xid8 NOT NULL DEFAULT pg_current_xact_id()",
    "id": "bigint GENERATED ALWAYS AS IDENTITY",
    "recorded_at": "timestamp with time zone NOT NULL DEFAULT clock_timestamp()",
    "login": "text NOT NULL DEFAULT SESSION_USER",
    "role": "text NOT NULL DEFAULT current_setting('role'::text)",
    "client_address": "inet DEFAULT inet_client_addr()",
    "application": "text DEFAULT current_setting('application_name'::text)",
    "process_id": "integer NOT NULL DEFAULT pg_backend_pid()",
    "relation": "text NOT NULL",
    "operation": "text NOT NULL",
    "key": "text",
    "old_state": "text",
    "new_state": "text",
    "before": "jsonb",
    "after": "jsonb",
}
# The others come from their defaults, so that the owner of the functions cannot choose them either.
WRITTEN = ("relation", "operation", "key", "old_state", "new_state", "before", "after")
EVENT_TRIGGERS = {"bulwark_record_ddl": "ddl_command_end", "bulwark_record_drop": "sql_drop"}

REFUSE_SOURCE = """
BEGIN
  RAISE EXCEPTION '% on %.% is refused: the table is append-only or its changes are recorded row by row',
    TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
"""

# In the words of PostgreSQL, which clients know.
REFUSE_ROW_SOURCE = """
BEGIN
  RAISE EXCEPTION 'new row for relation "%" violates check constraint "%"', TG_TABLE_NAME, TG_NAME
    USING ERRCODE = 'check_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME;
END
"""
REFUSERS = {"refuse": REFUSE_SOURCE, "refuse_row": REFUSE_ROW_SOURCE}


def log(policy: Policy) -> str:
    """Return the name of the log table."""
    return qualified(policy.log_schema, LOG_TABLE)


def table_name(table: Table) -> str:
    """Return the name of a table of the policy."""
    return qualified(table.schema, table.name)


def recorder(table: Table) -> str:
    """Return the name of the function that records changes of a table, without its schema."""
    return function_name("record", table.schema, table.name)


def emptier(guard: Guard) -> str:
    """Return the name of the function that empties the columns of a guard, without its schema."""
    return function_name("guard", guard.schema, guard.table, guard.name)


def settings(types: Iterable[str]) -> dict[str, str]:
    """Return the settings that a function needs, so that values of these types always have the same text."""
    kinds = {kind for kind in types if kind not in INDEPENDENT}
    if kinds <= {TIMESTAMP}:
        return {"TimeZone": PLAIN_TEXT["TimeZone"]} if kinds else {}
    return PLAIN_TEXT


def image(row: str, table: Table) -> str:
    """Return the expression for a row as jsonb: without ignored columns, and for a secret whether it is set."""
    text = f"pg_catalog.to_jsonb({row})"
    if table.ignored:
        names = ", ".join(literal(name) + "::pg_catalog.text" for name in table.ignored)
        text = f"({text} OPERATOR(pg_catalog.-) ARRAY[{names}])"
    if table.hidden:
        marks = ", ".join(
            f"{literal(name)}::pg_catalog.text, "
            f"CASE WHEN {row}.{identifier(name)} IS NULL THEN NULL ELSE '[set]'::pg_catalog.text END"
            for name in table.hidden
        )
        text = f"({text} OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object({marks}))"
    return text


def member(document: str, column: str) -> str:
    """Return the expression for the text of one member of a jsonb value."""
    if not column:
        return "NULL::pg_catalog.text"
    return f"({document} OPERATOR(pg_catalog.->>) {literal(column)}::pg_catalog.text)"


def record_source(policy: Policy, table: Table) -> str:
    """Return the body of the function that records changes of a table."""
    unchanged = "OLD OPERATOR(pg_catalog.*=) NEW"
    if table.ignored:
        plain = [f"{image(row, Table(table.schema, table.name, ignored=table.ignored))}" for row in ("OLD", "NEW")]
        unchanged = f"{plain[0]}::pg_catalog.text OPERATOR(pg_catalog.=) {plain[1]}::pg_catalog.text"
    key = f"COALESCE({member('new_row', table.key)}, {member('old_row', table.key)})"
    return f"""
DECLARE
  old_row pg_catalog.jsonb;
  new_row pg_catalog.jsonb;
BEGIN
  IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
    IF {unchanged} THEN
      RETURN NULL;
    END IF;
  END IF;
  IF TG_OP OPERATOR(pg_catalog.<>) 'INSERT' THEN
    old_row := {image("OLD", table)};
  END IF;
  IF TG_OP OPERATOR(pg_catalog.<>) 'DELETE' THEN
    new_row := {image("NEW", table)};
  END IF;
  INSERT INTO {log(policy)} ({", ".join(WRITTEN)})
  VALUES ({literal(str(table))}, TG_OP, {key},
    {member("old_row", table.state)}, {member("new_row", table.state)}, old_row, new_row);
  RETURN NULL;
END
"""


def ddl_source(policy: Policy) -> str:
    """Return the body of the function that records DDL and grants, and refuses casts.

    to_jsonb() calls a cast to json that somebody made for a type of his own. It would run as the owner of the recording
    functions, and in the session of a superuser who reads the table.
    """
    columns = "relation, operation, key, after"
    return f"""
BEGIN
  IF TG_TAG = 'CREATE CAST' AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = session_user) THEN
    RAISE EXCEPTION 'CREATE CAST is refused: the cast would run inside the transition log'
      USING ERRCODE = 'insufficient_privilege', HINT = 'Let a superuser create it.';
  END IF;
  IF TG_EVENT = 'sql_drop' THEN
    INSERT INTO {log(policy)} ({columns})
    SELECT coalesce(object_identity, '-'), 'DDL', TG_TAG, jsonb_build_object('type', object_type, 'dropped', true)
    FROM pg_event_trigger_dropped_objects() WHERE NOT is_temporary AND (original OR object_type = 'trigger');
  ELSE
    INSERT INTO {log(policy)} ({columns})
    SELECT coalesce(object_identity, '-'), 'DDL', command_tag,
      jsonb_build_object('type', object_type, 'schema', schema_name)
    FROM pg_event_trigger_ddl_commands() WHERE schema_name IS DISTINCT FROM 'pg_temp';
  END IF;
END
"""


def guard_source(guard: Guard) -> str:
    """Return the body of the function that empties the columns of a guard."""
    lines = "".join(f"  NEW.{identifier(name)} := NULL;\n" for name in guard.set_null)
    return f"\nBEGIN\n{lines}  RETURN NEW;\nEND\n"


def create_function(
    name: str, returns: str, source: str, owner: str, definer: bool, wishes: Mapping[str, str]
) -> list[str]:
    """Return what makes a function that nobody but its owner may call."""
    clauses = "".join(f" SET {setting} = {_setting(setting, value)}" for setting, value in wishes.items())
    security = " SECURITY DEFINER" if definer else ""
    return [
        f"CREATE OR REPLACE FUNCTION {name}() RETURNS pg_catalog.{returns} LANGUAGE plpgsql{security}{clauses} AS "
        + literal(source),
        f"ALTER FUNCTION {name}() OWNER TO {identifier(owner)}",
    ]


def _setting(setting: str, value: str) -> str:
    return value if setting == "search_path" else literal(value)


def functions(policy: Policy, types: Mapping[str, Sequence[str]]) -> list[str]:
    """Return what makes all functions. ``types`` has the types of the columns of each table."""
    made = []
    for function, source in REFUSERS.items():
        name = qualified(policy.log_schema, function)
        made += create_function(name, "trigger", source, policy.owner_role, False, INTERNAL_PATH)
    name, source = qualified(policy.log_schema, "record_ddl"), ddl_source(policy)
    made += create_function(name, "event_trigger", source, policy.writer_role, True, INTERNAL_PATH)
    for table in policy.recorded:
        name = qualified(policy.log_schema, recorder(table))
        source = record_source(policy, table)
        made += create_function(name, "trigger", source, policy.writer_role, True, settings(types[str(table)]))
    for guard in policy.guards:
        if guard.set_null:
            name = qualified(policy.log_schema, emptier(guard))
            made += create_function(name, "trigger", guard_source(guard), policy.owner_role, False, {})
    return made


def create_log(policy: Policy) -> list[str]:
    """Return what makes schema and table, where they are missing."""
    columns = ", ".join(f"{name} {definition}" for name, definition in COLUMNS.items())
    owner, schema = identifier(policy.owner_role), identifier(policy.log_schema)
    return [
        f"CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {owner}",
        f"CREATE TABLE IF NOT EXISTS {log(policy)} ({columns}, PRIMARY KEY (epoch, transaction_id, id))",
        f"ALTER SCHEMA {schema} OWNER TO {owner}",
        f"ALTER TABLE {log(policy)} OWNER TO {owner}",
    ]


def grants(policy: Policy) -> list[str]:
    """Return the grants; what is not among them is revoked before."""
    schema, writer, reader = map(identifier, (policy.log_schema, policy.writer_role, policy.reader_role))
    return [
        f"GRANT USAGE ON SCHEMA {schema} TO {writer}, {reader}",
        f"GRANT INSERT ({', '.join(WRITTEN)}) ON {log(policy)} TO {writer}",
        f"GRANT SELECT ON {log(policy)} TO {reader}",
    ]


def _trigger(name: str, when: str, table: str, function: str, condition: str = "") -> list[str]:
    scope = "STATEMENT" if "TRUNCATE" in when else "ROW"
    made = f"CREATE OR REPLACE TRIGGER {identifier(name)} {when} ON {table} FOR EACH {scope}{condition}"
    return [
        f"{made} EXECUTE FUNCTION {function}()",
        f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {identifier(name)}",
    ]


def triggers(policy: Policy) -> list[str]:
    """Return the triggers of the tables and of the log itself."""
    refuse = qualified(policy.log_schema, "refuse")
    append_only = [log(policy), *(table_name(table) for table in policy.tables if table.append_only)]
    made = []
    for table in policy.recorded:
        function = qualified(policy.log_schema, recorder(table))
        made += _trigger(RECORD, "AFTER INSERT OR DELETE OR UPDATE", table_name(table), function)
    for name in append_only:
        made += _trigger(REFUSE_CHANGE, "BEFORE DELETE OR UPDATE", name, refuse)
    for name in (*append_only, *(table_name(table) for table in policy.recorded)):
        made += _trigger(REFUSE_TRUNCATE, "BEFORE TRUNCATE", name, refuse)
    return made


def guard_trigger(policy: Policy, guard: Guard) -> list[str]:
    """Return what makes a guard.

    A check is a trigger too, because the error of a CHECK constraint quotes the whole row, secrets included. It looks
    at a row last of all, so that no other trigger can change it after that.
    """
    if guard.check:
        function, when, condition = "refuse_row", "AFTER INSERT OR UPDATE", f"({guard.check}) IS FALSE"
    else:
        function, when, condition = emptier(guard), "BEFORE UPDATE", guard.when
    table = qualified(guard.schema, guard.table)
    return _trigger(guard.object_name, when, table, qualified(policy.log_schema, function), f" WHEN ({condition})")


def baseline(policy: Policy, table: Table) -> str:
    """Return what records each row of a table as it is now."""
    key, state = member("found.row_image", table.key), member("found.row_image", table.state)
    return (
        f"INSERT INTO {log(policy)} (relation, operation, key, new_state, after)"
        f" SELECT {literal(str(table))}, 'BASELINE', {key}, {state}, found.row_image"
        f" FROM (SELECT {image('found_row', table)} AS row_image FROM ONLY {table_name(table)} AS found_row) AS found"
    )


def unrecorded(policy: Policy, table: Table) -> str:
    """Return the query for rows that are not as their newest record since the last baseline: how many, and the first.

    A record tells what has become of the key after it, and, if that is another one, that the key before it is gone.
    """
    key = literal(table.key)
    records = (
        f"FROM {log(policy)} WHERE relation = {literal(str(table))} AND id >= (SELECT first FROM start)"
        " AND operation IN ('BASELINE', 'INSERT', 'UPDATE', 'DELETE')"
    )
    return f"""
WITH start AS (SELECT min(id) AS first FROM {log(policy)} WHERE (epoch, transaction_id) =
  (SELECT epoch, transaction_id FROM {log(policy)} WHERE operation = 'INSTALL' ORDER BY epoch DESC, id DESC LIMIT 1)),
told AS (SELECT id, after ->> {key} AS key, after AS image {records} AND after IS NOT NULL
  UNION ALL SELECT id, before ->> {key}, NULL {records} AND before IS NOT NULL
    AND before ->> {key} IS DISTINCT FROM after ->> {key}),
newest AS (SELECT DISTINCT ON (key) key, image FROM told ORDER BY key, id DESC),
present AS (SELECT image ->> {key} AS key, image
  FROM (SELECT {image("found_row", table)} AS image FROM ONLY {table_name(table)} AS found_row) AS found)
SELECT count(*), min(coalesce(present.key, newest.key)) FROM present FULL JOIN newest ON present.key = newest.key
WHERE present.image IS DISTINCT FROM newest.image
"""


def event_triggers(policy: Policy) -> list[str]:
    """Return what makes the event triggers."""
    function = qualified(policy.log_schema, "record_ddl")
    return [
        statement
        for name, event in EVENT_TRIGGERS.items()
        for statement in (
            f"CREATE EVENT TRIGGER {name} ON {event} EXECUTE FUNCTION {function}()",
            f"ALTER EVENT TRIGGER {name} ENABLE ALWAYS",
        )
    ]
