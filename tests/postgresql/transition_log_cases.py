# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The transition log's tests as data: a small schema, what is tried against the log, and what is broken about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

DATABASE, OWNER, RUNTIME, READER, PASSWORD = "shop", "shop_owner", "shop_app", "bulwark_audit_reader", "not-a-secret"
LOG = "bulwark_audit.transition"
FIRST = "00000000-first"
KEPT = "00000000-kept"

CLUSTER = f"""
DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE);
DO $$ BEGIN
  IF to_regrole('{OWNER}') IS NULL THEN CREATE ROLE {OWNER} LOGIN; CREATE ROLE {RUNTIME} LOGIN; END IF;
END $$;
ALTER ROLE {OWNER} PASSWORD '{PASSWORD}';
ALTER ROLE {RUNTIME} PASSWORD '{PASSWORD}';
CREATE DATABASE {DATABASE} OWNER {OWNER} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8';
"""
SCHEMA = f"""
SET ROLE {OWNER};
CREATE TYPE request_state AS ENUM ('PENDING', 'APPROVED', 'REJECTED', 'ACTIVE', 'EXPIRED', 'REVOKED');
CREATE TYPE policy_type AS ENUM ('ELIGIBILITY', 'APPROVAL');
CREATE TABLE elevation_requests (id text PRIMARY KEY, state request_state NOT NULL DEFAULT 'PENDING',
  requester_identity text NOT NULL, provider text NOT NULL, role text NOT NULL,
  resource_scope text NOT NULL DEFAULT '', duration_seconds bigint NOT NULL, reason text NOT NULL DEFAULT '',
  break_glass boolean NOT NULL DEFAULT false, metadata jsonb NOT NULL DEFAULT '{{}}', approver_identity text,
  approver_comment text, expires_at timestamptz, revoke_token text, credentials_json jsonb,
  created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
  approver_tier text NOT NULL DEFAULT 'human', ai_reasoning_json text);
CREATE INDEX ON elevation_requests (state);
CREATE INDEX ON elevation_requests (requester_identity);
CREATE INDEX ON elevation_requests (expires_at) WHERE state = 'ACTIVE';
CREATE TABLE policies (id text PRIMARY KEY, name text NOT NULL UNIQUE, type policy_type NOT NULL, rego text NOT NULL,
  description text NOT NULL DEFAULT '', enabled boolean NOT NULL DEFAULT true, updated_by text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE audit_events (id bigserial PRIMARY KEY, "timestamp" timestamptz NOT NULL DEFAULT now(),
  actor_identity text NOT NULL, action text NOT NULL, request_id text, provider text NOT NULL DEFAULT '',
  resource_scope text NOT NULL DEFAULT '', outcome text NOT NULL, details_json text NOT NULL DEFAULT '{{}}',
  prev_hash text NOT NULL DEFAULT '', hash text NOT NULL);
CREATE TABLE principals (identity text PRIMARY KEY, trust_tier integer NOT NULL DEFAULT 0,
  enrolled_by text NOT NULL DEFAULT '', enrolled_at timestamptz NOT NULL DEFAULT now(),
  last_seen_at timestamptz NOT NULL DEFAULT now(), notes text NOT NULL DEFAULT '');
-- The oracle compares old rows with new ones.
ALTER TABLE elevation_requests REPLICA IDENTITY FULL;
ALTER TABLE policies REPLICA IDENTITY FULL;
ALTER TABLE principals REPLICA IDENTITY FULL;
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO {RUNTIME};
GRANT UPDATE, DELETE ON elevation_requests, policies, principals TO {RUNTIME};
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {RUNTIME};
INSERT INTO elevation_requests (id, requester_identity, provider, role, duration_seconds, revoke_token)
  SELECT lpad(n::text, 8, '0') || '-seed', 'anna@example.com', 'aws', 'admin', 3600, 'secret-token'
  FROM generate_series(1, 50) AS n;
INSERT INTO elevation_requests (id, requester_identity, provider, role, duration_seconds)
  VALUES ('{FIRST}', 'anna@example.com', 'aws', 'admin', 3600), ('{KEPT}', 'anna@example.com', 'aws', 'admin', 3600);
INSERT INTO policies (id, name, type, rego) SELECT 'pol' || n, 'policy ' || n, 'APPROVAL', 'package x'
  FROM generate_series(1, 10) AS n;
INSERT INTO principals (identity) SELECT 'user' || n || '@example.com' FROM generate_series(1, 10) AS n;
INSERT INTO audit_events (actor_identity, action, outcome, hash) VALUES ('anna', 'created', 'success', 'x');
RESET ROLE;
"""
UPDATE = f"UPDATE elevation_requests SET reason = 'tried', approver_comment = 'x' WHERE id = '{FIRST}'"
# RECORDER and EMPTIER stand for the names that the policy gives to the functions.


@dataclass(frozen=True)
class Attack:
    """What a role tries: it is refused, recorded as DDL, or has no effect on the record of a change."""

    name: str
    role: str
    statements: tuple[str, ...]
    outcome: str = "refused"
    undo: str = ""


def refused(role: str, *statements: str) -> list[Attack]:
    """Return one attack for each statement."""
    return [Attack(statement[:90], role, (statement,)) for statement in statements]


FUNCTION = "bulwark_audit.RECORDER()"
EVERYBODY = (
    f"SELECT * FROM {LOG}",
    f"INSERT INTO {LOG} (relation, operation) VALUES ('public.policies', 'INSERT')",
    f"UPDATE {LOG} SET login = 'nobody'",
    f"DELETE FROM {LOG}",
    f"TRUNCATE {LOG}",
    f"BEGIN; LOCK TABLE {LOG} IN ACCESS SHARE MODE",
    f"COPY {LOG} TO STDOUT",
    f"ALTER TABLE {LOG} ADD COLUMN extra text",
    f"ALTER TABLE {LOG} DISABLE TRIGGER ALL",
    f"ALTER TABLE {LOG} OWNER TO {OWNER}",
    f"DROP TABLE {LOG}",
    f"CREATE RULE forget AS ON INSERT TO {LOG} DO INSTEAD NOTHING",
    f"CREATE INDEX ON {LOG} ((lower(login)))",
    f"CREATE POLICY none ON {LOG} USING (false)",
    f"GRANT ALL ON {LOG} TO {RUNTIME}",
    f"COMMENT ON TABLE {LOG} IS 'mine'",
    f"CREATE TABLE child () INHERITS ({LOG})",
    "SELECT setval('bulwark_audit.transition_id_seq', 1)",
    "SELECT nextval('bulwark_audit.transition_id_seq')",
    "ALTER SEQUENCE bulwark_audit.transition_id_seq RESTART",
    f"SELECT {FUNCTION}",
    "SELECT bulwark_audit.refuse()",
    f"CREATE TEMP TABLE mine (id text); CREATE TRIGGER t AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION {FUNCTION}",
    f"ALTER FUNCTION {FUNCTION} SECURITY INVOKER",
    f"ALTER FUNCTION {FUNCTION} SET search_path = public",
    f"ALTER FUNCTION {FUNCTION} OWNER TO {OWNER}",
    f"DROP FUNCTION {FUNCTION} CASCADE",
    f"GRANT EXECUTE ON FUNCTION {FUNCTION} TO PUBLIC",
    "CREATE FUNCTION bulwark_audit.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE TABLE bulwark_audit.mine (a int)",
    "DROP SCHEMA bulwark_audit CASCADE",
    "ALTER SCHEMA bulwark_audit RENAME TO other",
    "SET ROLE bulwark_audit",
    "SET ROLE bulwark_audit_writer",
    "SET ROLE bulwark_audit_reader",
    "SET SESSION AUTHORIZATION postgres",
    "SET session_replication_role = replica",
    "ALTER EVENT TRIGGER bulwark_record_ddl DISABLE",
    "DROP EVENT TRIGGER bulwark_record_drop",
    "TRUNCATE elevation_requests",
    "TRUNCATE audit_events",
    "UPDATE audit_events SET outcome = 'failure'",
    "DELETE FROM audit_events",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "CREATE EVENT TRIGGER mine ON ddl_command_end EXECUTE FUNCTION bulwark_audit.record_ddl()",
    "BEGIN; LOCK TABLE pg_catalog.pg_cast IN ACCESS EXCLUSIVE MODE",
    "UPDATE pg_catalog.pg_trigger SET tgenabled = 'D'",
)
RUNTIME_ONLY = (
    "ALTER TABLE elevation_requests DISABLE TRIGGER bulwark_record",
    "ALTER TABLE elevation_requests DISABLE TRIGGER ALL",
    "DROP TRIGGER bulwark_record ON elevation_requests",
    "DROP TRIGGER bulwark_four_eyes ON elevation_requests",
    "CREATE TRIGGER mine BEFORE UPDATE ON policies FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE RULE forget AS ON UPDATE TO elevation_requests DO INSTEAD NOTHING",
    "DROP TABLE elevation_requests",
    "UPDATE elevation_requests SET state = 'APPROVED', approver_identity = ' ANNA@example.com'",
    "UPDATE elevation_requests SET state = 'APPROVED', approver_identity = ''",
    "UPDATE elevation_requests SET state = 'ACTIVE', approver_identity = NULL",
    "CREATE FUNCTION public.to_jsonb(anyelement) RETURNS jsonb LANGUAGE sql AS 'SELECT null::jsonb'",
)
CAST = (
    """CREATE FUNCTION evil(request_state) RETURNS json LANGUAGE plpgsql AS
       $f$ BEGIN DROP FUNCTION IF EXISTS bulwark_audit.refuse() CASCADE; RETURN '1'; END $f$""",
    "CREATE CAST (request_state AS json) WITH FUNCTION evil(request_state)",
)
OWNER_ONLY = (
    "CREATE CAST (policy_type AS json) WITH INOUT",
    "CREATE EXTENSION hstore",
    f"CREATE TABLE mine (id text); CREATE TRIGGER t AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION {FUNCTION}",
    "CREATE TRIGGER mine AFTER INSERT ON policies FOR EACH ROW EXECUTE FUNCTION bulwark_audit.refuse()",
)
REPAIR = "install"
RECORDED = (
    ("ALTER TABLE elevation_requests DISABLE TRIGGER bulwark_record", REPAIR),
    ("DROP TRIGGER bulwark_record ON elevation_requests", REPAIR),
    ("DROP TRIGGER bulwark_four_eyes ON elevation_requests", REPAIR),
    ("ALTER TABLE policies ADD COLUMN extra text", "ALTER TABLE policies DROP COLUMN extra"),
    ("ALTER TABLE policies RENAME COLUMN rego TO source", "ALTER TABLE policies RENAME COLUMN source TO rego"),
    ("ALTER TYPE policy_type ADD VALUE IF NOT EXISTS 'OTHER'", ""),
    ("GRANT DELETE ON audit_events TO PUBLIC", "REVOKE DELETE ON audit_events FROM PUBLIC"),
    ("CREATE RULE forget AS ON UPDATE TO policies DO INSTEAD NOTHING", "DROP RULE forget ON policies"),
    ("CREATE TABLE child () INHERITS (policies)", "DROP TABLE child"),
    ("CREATE TABLE other (a int); DROP TABLE other", ""),
    ("CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'", "DROP FUNCTION public.mine()"),
    ("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT DELETE ON TABLES TO PUBLIC",
     f"ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} IN SCHEMA public REVOKE DELETE ON TABLES FROM PUBLIC"),
)  # fmt: skip
# Whatever the session of a change has set or shadowed, its record is the same.
SESSIONS = (
    ("SET TimeZone = 'Asia/Kathmandu'",),
    ("SET TimeZone = '+00:01'",),
    ("SET DateStyle = 'German, DMY'",),
    ("SET IntervalStyle = 'iso_8601'",),
    ("SET extra_float_digits = -15",),
    ("SET bytea_output = 'escape'",),
    ("SET standard_conforming_strings = off",),
    ("SET transform_null_equals = on",),
    ("SET array_nulls = off",),
    ("SET quote_all_identifiers = on",),
    ("SET client_encoding = 'LATIN1'",),
    ("SET row_security = off",),
    ("SET plan_cache_mode = 'force_generic_plan'",),
    ("SET jit_above_cost = 0",),
    ("SET enable_indexscan = off", "SET enable_seqscan = off"),
    ("SET plpgsql.extra_errors = 'all'",),
    ("SET plpgsql.extra_warnings = 'all'",),
    ("SET synchronous_commit = off",),
    ("SET lc_monetary = 'C'",),
    ("SET xmloption = document",),
    ("SET search_path = ''",),
    ("SELECT pg_advisory_lock(1), pg_advisory_lock(7278657000)",),
    ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",),
    # The names of the log's own functions, operators and tables in the schema that is found first.
    ("CREATE TEMP TABLE transition (a int)", "CREATE TEMP TABLE policies (a int)", "SET search_path = pg_temp, public"),
    ("SET search_path = evil, pg_catalog, public",),
    ("SET search_path = evil, public, pg_temp, pg_catalog",),
)
# Made by the owner, who may create schemas of his own.
SHADOWING = """
CREATE SCHEMA evil;
CREATE DOMAIN evil.jsonb AS text CHECK (false);
CREATE DOMAIN evil.text AS pg_catalog.text CHECK (false);
CREATE FUNCTION evil.to_jsonb(anyelement) RETURNS pg_catalog.jsonb LANGUAGE sql
  AS $$SELECT '"forged"'::pg_catalog.jsonb$$;
CREATE FUNCTION evil.jsonb_build_object(VARIADIC pg_catalog.text[]) RETURNS pg_catalog.jsonb LANGUAGE sql
  AS $$SELECT '"forged"'::pg_catalog.jsonb$$;
CREATE FUNCTION evil.member(pg_catalog.jsonb, pg_catalog.text) RETURNS pg_catalog.text LANGUAGE sql
  AS $$SELECT 'forged'::pg_catalog.text$$;
CREATE FUNCTION evil.same(pg_catalog.text, pg_catalog.text) RETURNS boolean LANGUAGE sql AS $$SELECT true$$;
CREATE FUNCTION evil.other(pg_catalog.text, pg_catalog.text) RETURNS boolean LANGUAGE sql AS $$SELECT false$$;
CREATE FUNCTION evil.merge(pg_catalog.jsonb, pg_catalog.jsonb) RETURNS pg_catalog.jsonb LANGUAGE sql
  AS $$SELECT '"forged"'::pg_catalog.jsonb$$;
CREATE OPERATOR evil.->> (FUNCTION = evil.member, LEFTARG = pg_catalog.jsonb, RIGHTARG = pg_catalog.text);
CREATE OPERATOR evil.= (FUNCTION = evil.same, LEFTARG = pg_catalog.text, RIGHTARG = pg_catalog.text);
CREATE OPERATOR evil.<> (FUNCTION = evil.other, LEFTARG = pg_catalog.text, RIGHTARG = pg_catalog.text);
CREATE OPERATOR evil.|| (FUNCTION = evil.merge, LEFTARG = pg_catalog.jsonb, RIGHTARG = pg_catalog.jsonb);
CREATE FUNCTION evil.pg_current_xact_id() RETURNS xid8 LANGUAGE sql AS $$SELECT '1'::xid8$$;
CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$SELECT 'epoch'::timestamptz$$;
CREATE FUNCTION evil.alike(record, record) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RETURN true; END$$;
CREATE OPERATOR evil.*= (FUNCTION = evil.alike, LEFTARG = record, RIGHTARG = record);
GRANT USAGE ON SCHEMA evil TO PUBLIC;
"""
ATTACKS: list[Attack] = [
    *refused(RUNTIME, *EVERYBODY, *RUNTIME_ONLY),
    *refused(OWNER, *EVERYBODY, *OWNER_ONLY),
    Attack("CREATE CAST to json with a function of the owner", OWNER, CAST),
    *(Attack(statement[:90], OWNER, (statement,), "recorded", undo) for statement, undo in RECORDED),
    *(Attack("; ".join(statements)[:90], RUNTIME, statements, "no effect") for statements in SESSIONS),
]
VALUES = {
    "quotes, newlines, control and bidirectional characters": "it's \\ \" \n\r\t\x01\x7f\u202e\u2066 %s $1 {} end",
    "ten million characters": "x" * 10_000_000,
    "what looks like a record": '"}, {"state": "EXPIRED"}',
}


@dataclass(frozen=True)
class Breakage:
    """One deviation: what a superuser does, which objects verify must name and no others, how it is put right."""

    name: str
    statements: str
    found: tuple[str, ...]
    undo: str = REPAIR


RECORD_TRIGGER = ("trigger bulwark_record of public.elevation_requests",)
LOG_COLUMNS, LOG_TABLE = (f"columns of {LOG}",), (f"log table {LOG}",)
TABLE = ("table public.elevation_requests",)
RECORD_FUNCTION = ("function bulwark_audit.record_elevation_requests",)
FOUR_EYES = ("trigger bulwark_four_eyes of public.elevation_requests",)
EMPTIER = ("trigger bulwark_empty of public.elevation_requests",)
# Where nothing could be recorded, or it would fail itself.
QUIET = "ALTER EVENT TRIGGER bulwark_record_ddl"
ALTER = "ALTER TABLE elevation_requests"
TRIGGER = "CREATE OR REPLACE TRIGGER bulwark_record AFTER INSERT"
ALWAYS = f" {ALTER} ENABLE ALWAYS TRIGGER bulwark_record"
OTHER = f"CREATE OR REPLACE FUNCTION {FUNCTION} RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET TimeZone = 'UTC'"
BREAKAGES = [
    Breakage("trigger disabled", f"{ALTER} DISABLE TRIGGER bulwark_record", RECORD_TRIGGER),
    Breakage("trigger for origin only", f"{ALTER} ENABLE TRIGGER bulwark_record", RECORD_TRIGGER),
    Breakage("trigger for replicas only", f"{ALTER} ENABLE REPLICA TRIGGER bulwark_record", RECORD_TRIGGER),
    Breakage("trigger dropped", "DROP TRIGGER bulwark_record ON elevation_requests", RECORD_TRIGGER),
    Breakage("trigger with a condition", f"{TRIGGER} OR DELETE OR UPDATE ON elevation_requests FOR EACH ROW WHEN"
             f" (false) EXECUTE FUNCTION {FUNCTION}; {ALWAYS}", RECORD_TRIGGER),
    Breakage("trigger for fewer events", f"{TRIGGER} ON elevation_requests FOR EACH ROW EXECUTE FUNCTION {FUNCTION};"
             f" {ALWAYS}", RECORD_TRIGGER),
    Breakage("trigger for one column", f"{TRIGGER} OR DELETE OR UPDATE OF role ON elevation_requests FOR EACH ROW"
             f" EXECUTE FUNCTION {FUNCTION}; {ALWAYS}", RECORD_TRIGGER),
    Breakage("trigger with arguments", f"{TRIGGER} OR DELETE OR UPDATE ON elevation_requests FOR EACH ROW EXECUTE"
             f" FUNCTION bulwark_audit.RECORDER('a'); {ALWAYS}", RECORD_TRIGGER),
    Breakage("trigger with another function", f"{TRIGGER} OR DELETE OR UPDATE ON elevation_requests FOR EACH ROW"
             f" EXECUTE FUNCTION suppress_redundant_updates_trigger(); {ALWAYS}", RECORD_TRIGGER),
    Breakage("TRUNCATE allowed", "DROP TRIGGER bulwark_refuse_truncate ON policies",
             ("trigger bulwark_refuse_truncate of public.policies",)),
    Breakage("append-only trigger disabled", "ALTER TABLE audit_events DISABLE TRIGGER bulwark_refuse_change",
             ("trigger bulwark_refuse_change of public.audit_events",)),
    Breakage("the log's own trigger disabled", f"ALTER TABLE {LOG} DISABLE TRIGGER bulwark_refuse_change",
             (f"trigger bulwark_refuse_change of {LOG}",)),
    Breakage("the log's function on another table", "CREATE TABLE mine (a int); CREATE TRIGGER mine BEFORE INSERT ON"
             " mine FOR EACH ROW EXECUTE FUNCTION bulwark_audit.refuse()", ("trigger mine of public.mine",)),
    Breakage("source of a recording function", f"{OTHER} AS 'BEGIN RETURN NULL; END'", RECORD_FUNCTION),
    Breakage("source of the refusing function", "CREATE OR REPLACE FUNCTION bulwark_audit.refuse() RETURNS trigger"
             " LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN NEW; END'",
             ("function bulwark_audit.refuse",)),
    Breakage("source of the event triggers' function", "CREATE OR REPLACE FUNCTION bulwark_audit.record_ddl() RETURNS"
             " event_trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'BEGIN END'",
             ("function bulwark_audit.record_ddl",)),
    Breakage("owner of a function", f"ALTER FUNCTION {FUNCTION} OWNER TO postgres", RECORD_FUNCTION),
    Breakage("function with the caller's rights", f"ALTER FUNCTION {FUNCTION} SECURITY INVOKER", RECORD_FUNCTION),
    Breakage("settings of a function", f"ALTER FUNCTION {FUNCTION} RESET ALL", RECORD_FUNCTION),
    Breakage("one more setting", f"ALTER FUNCTION {FUNCTION} SET search_path = public", RECORD_FUNCTION),
    Breakage("function for everybody", f"GRANT EXECUTE ON FUNCTION {FUNCTION} TO PUBLIC", RECORD_FUNCTION),
    Breakage("function for one role", f"GRANT EXECUTE ON FUNCTION {FUNCTION} TO {OWNER}", RECORD_FUNCTION),
    Breakage("one more function", "CREATE FUNCTION bulwark_audit.more() RETURNS int LANGUAGE sql AS 'SELECT 1'",
             ("function bulwark_audit.more",)),
    Breakage("event trigger disabled", "ALTER EVENT TRIGGER bulwark_record_ddl DISABLE",
             ("event trigger bulwark_record_ddl",)),
    Breakage("event trigger for origin only", "ALTER EVENT TRIGGER bulwark_record_drop ENABLE",
             ("event trigger bulwark_record_drop",)),
    Breakage("event trigger dropped", "DROP EVENT TRIGGER bulwark_record_ddl", ("event trigger bulwark_record_ddl",)),
    Breakage("event trigger for few commands", "DROP EVENT TRIGGER bulwark_record_ddl; CREATE EVENT TRIGGER"
             " bulwark_record_ddl ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION"
             " bulwark_audit.record_ddl(); ALTER EVENT TRIGGER bulwark_record_ddl ENABLE ALWAYS",
             ("event trigger bulwark_record_ddl",)),
    Breakage("schema for one more role", f"GRANT USAGE ON SCHEMA bulwark_audit TO {RUNTIME}",
             ("schema bulwark_audit",)),
    Breakage("owner of the schema", "ALTER SCHEMA bulwark_audit OWNER TO postgres", ("schema bulwark_audit",)),
    Breakage("log readable for one more role", f"GRANT SELECT ON {LOG} TO {RUNTIME}", LOG_TABLE),
    Breakage("log writable for one more role", f"GRANT INSERT ON {LOG} TO {RUNTIME}",
             (*LOG_TABLE, f"roles that can write to {LOG}")),
    Breakage("writer may choose the number", f"GRANT INSERT (id) ON {LOG} TO bulwark_audit_writer", LOG_TABLE),
    Breakage("writer may not write", f"{QUIET} DISABLE; REVOKE INSERT (relation) ON {LOG} FROM bulwark_audit_writer;"
             f" {QUIET} ENABLE ALWAYS", LOG_TABLE),
    Breakage("reader may hand on", f"GRANT SELECT ON {LOG} TO bulwark_audit_reader WITH GRANT OPTION", LOG_TABLE),
    Breakage("owner of the log", f"ALTER TABLE {LOG} OWNER TO postgres", LOG_TABLE),
    Breakage("row security on the log", f"{QUIET} DISABLE; ALTER TABLE {LOG} ENABLE ROW LEVEL SECURITY;"
             f" {QUIET} ENABLE ALWAYS", LOG_TABLE,
             f"{QUIET} DISABLE; ALTER TABLE {LOG} DISABLE ROW LEVEL SECURITY; {QUIET} ENABLE ALWAYS"),
    Breakage("default of a column", f"ALTER TABLE {LOG} ALTER login SET DEFAULT 'nobody'", LOG_COLUMNS,
             f"ALTER TABLE {LOG} ALTER login SET DEFAULT session_user"),
    Breakage("one more column", f"ALTER TABLE {LOG} ADD COLUMN more text", LOG_COLUMNS,
             f"ALTER TABLE {LOG} DROP COLUMN more"),
    Breakage("one more constraint", f"ALTER TABLE {LOG} ADD CONSTRAINT more CHECK (key <> 'x') NOT VALID",
             (f"constraints of {LOG}",), f"ALTER TABLE {LOG} DROP CONSTRAINT more"),
    Breakage("a rule on the log", f"CREATE RULE more AS ON INSERT TO {LOG} DO ALSO NOTHING", (f"constraints of {LOG}",),
             f"DROP RULE more ON {LOG}"),
    Breakage("primary key dropped", f"ALTER TABLE {LOG} DROP CONSTRAINT transition_pkey", (f"constraints of {LOG}",),
             f"ALTER TABLE {LOG} ADD PRIMARY KEY (epoch, transaction_id, id)"),
    Breakage("role that can log in", "ALTER ROLE bulwark_audit LOGIN", ("attributes of role bulwark_audit",),
             "ALTER ROLE bulwark_audit NOLOGIN"),
    Breakage("role with an attribute", "ALTER ROLE bulwark_audit_reader CREATEROLE",
             ("attributes of role bulwark_audit_reader",), "ALTER ROLE bulwark_audit_reader NOCREATEROLE"),
    Breakage("member of the owner", f"GRANT bulwark_audit TO {RUNTIME}",
             ("members of role bulwark_audit", f"roles that can write to {LOG}"),
             f"REVOKE bulwark_audit FROM {RUNTIME}"),
    Breakage("member of a predefined role", f"GRANT pg_write_all_data TO {RUNTIME}",
             (f"roles that can write to {LOG}",), f"REVOKE pg_write_all_data FROM {RUNTIME}"),
    Breakage("writer is a member", "GRANT pg_read_all_data TO bulwark_audit_writer",
             ("memberships of role bulwark_audit_writer",), "REVOKE pg_read_all_data FROM bulwark_audit_writer"),
    Breakage("cast to json", "CREATE FUNCTION evil(request_state) RETURNS json LANGUAGE sql AS 'SELECT ''1''::json';"
             " CREATE CAST (request_state AS json) WITH FUNCTION evil(request_state)", ("casts to json",),
             "DROP FUNCTION evil(request_state) CASCADE"),
    Breakage("guard dropped", "DROP TRIGGER bulwark_four_eyes ON elevation_requests", FOUR_EYES),
    Breakage("guard weakened", "CREATE OR REPLACE TRIGGER bulwark_four_eyes AFTER INSERT OR UPDATE ON"
             " elevation_requests FOR EACH ROW WHEN ((NEW.state <> 'ACTIVE') IS FALSE)"
             " EXECUTE FUNCTION bulwark_audit.refuse_row();"
             f" {ALTER} ENABLE ALWAYS TRIGGER bulwark_four_eyes", FOUR_EYES),
    Breakage("guard's trigger disabled", f"{ALTER} DISABLE TRIGGER bulwark_empty", EMPTIER),
    Breakage("guard's trigger never", "CREATE OR REPLACE TRIGGER bulwark_empty BEFORE UPDATE ON elevation_requests FOR"
             " EACH ROW WHEN (false) EXECUTE FUNCTION bulwark_audit.EMPTIER();"
             f" {ALTER} ENABLE ALWAYS TRIGGER bulwark_empty", EMPTIER),
    Breakage("guard's function", "CREATE OR REPLACE FUNCTION bulwark_audit.EMPTIER() RETURNS trigger LANGUAGE plpgsql"
             " AS 'BEGIN RETURN NEW; END'", ("function bulwark_audit.guard_empty",)),
    Breakage("note of the guards lost", f"COMMENT ON TABLE {LOG} IS NULL", (*FOUR_EYES, *EMPTIER)),
    Breakage("table with a child", "CREATE TABLE child () INHERITS (elevation_requests)", TABLE, "DROP TABLE child"),
    Breakage("table not permanent", f"{ALTER} SET UNLOGGED", TABLE, f"{ALTER} SET LOGGED"),
    Breakage("hidden column renamed", f"{ALTER} RENAME COLUMN revoke_token TO token",
             ("columns missing in public.elevation_requests",), f"{ALTER} RENAME COLUMN token TO revoke_token"),
    Breakage("column that is not always the same text", f"{ALTER} ADD COLUMN weight double precision", RECORD_FUNCTION,
             f"{ALTER} DROP COLUMN weight"),
]  # fmt: skip
# While the trigger does not see it.
BEHIND = {
    "row changed behind the log": "UPDATE policies SET rego = 'forged' WHERE name = 'policy 1'",
    "row deleted behind the log": "DELETE FROM policies WHERE name = 'policy 2'",
    "row inserted behind the log": "INSERT INTO policies (id, name, type, rego) VALUES ('x', 'x', 'APPROVAL', 'x')",
}


def arguments() -> dict[str, Any]:
    """Return the arguments of the module for the schema above."""
    return {
        "database": DATABASE,
        "tables": [
            {
                "name": "elevation_requests",
                "key": "id",
                "state": "state",
                "hidden": ["credentials_json", "revoke_token"],
            },
            {"name": "policies", "key": "name", "state": "enabled"},
            {"name": "principals", "key": "identity", "state": "trust_tier", "ignored": ["last_seen_at"]},
            {"name": "audit_events", "append_only": True},
        ],
        "guards": [
            {
                "name": "four_eyes",
                "table": "elevation_requests",
                "check": "NEW.state NOT IN ('APPROVED', 'ACTIVE') OR (coalesce(btrim(NEW.approver_identity), '') <> ''"
                " AND lower(btrim(NEW.approver_identity)) <> lower(btrim(NEW.requester_identity)))",
            },
            {
                "name": "empty",
                "table": "elevation_requests",
                "when": "OLD.state = 'APPROVED' AND NEW.state = 'PENDING'",
                "set_null": ["approver_identity", "approver_comment"],
            },
        ],
    }
