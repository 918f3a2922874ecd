# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host with a cluster, beside a copy of the package `postgresql`: random privileges against random wishes.

grants_driver.py chaos FIRST_SEED COUNT | scale OBJECTS ROLES. Prints one line of JSON for each case.
"""

from __future__ import annotations

import contextlib
import fnmatch
import json
import random
import sys
import time
import typing as t

from postgresql.grants import change, model
from postgresql.names import identifier, qualified
from postgresql.server import Place, Refused, Server

DATABASE = "chaos"
# Names that need quotes, and one that is the word for everybody in another case.
ROLES = ("c_owner", "c_second", "c_app", "c_Audit", 'c_o"brien', "c_ämne", "c_group", "c_other", "Public")
STRANGERS = ("c_stranger", "c_admin")
SCHEMAS = ("one", "Two", "outside")
TABLES = ("t1", "t2", "T 3", "audit_log", "t[4]")
TABLE_PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
PLACE = Place()
SQL_KINDS = {"TABLE": TABLE_PRIVILEGES, "SEQUENCE": ("SELECT", "UPDATE", "USAGE"), "ROUTINE": ("EXECUTE",)}


def run(server: Server, *statements: str) -> None:
    for statement in statements:
        server.rows(statement)


def build() -> None:
    """Make roles, schemas and objects anew."""
    with Server(PLACE) as server:
        run(server, f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        for role in (*ROLES, *STRANGERS):
            if server.rows("SELECT FROM pg_roles WHERE rolname = %s", [role]):
                run(server, f"DROP OWNED BY {identifier(role)}", f"DROP ROLE {identifier(role)}")
            run(server, f"CREATE ROLE {identifier(role)}")
        run(server, f"CREATE DATABASE {DATABASE}")
    with Server(PLACE, DATABASE) as server:
        for schema in SCHEMAS:
            run(server, f"CREATE SCHEMA {identifier(schema)}")
            for table in TABLES:
                run(server, f"CREATE TABLE {qualified(schema, table)} (id bigserial, a text, {identifier('B b')} text)")
            run(
                server,
                f"CREATE VIEW {qualified(schema, 'v')} AS SELECT 1 AS a",
                f"CREATE SEQUENCE {qualified(schema, 'counter')}",
                f"CREATE FUNCTION {qualified(schema, 'f')}(a int, VARIADIC b text[]) RETURNS int LANGUAGE sql"
                " AS 'SELECT 1'",
                f"CREATE FUNCTION {qualified(schema, 'f')}() RETURNS int LANGUAGE sql AS 'SELECT 1'",
                f"CREATE PROCEDURE {qualified(schema, 'p')}(a int) LANGUAGE sql AS 'SELECT 1'",
                f"CREATE AGGREGATE {qualified(schema, 'total')}(int) (SFUNC = int4pl, STYPE = int)",
                f"CREATE TYPE {qualified(schema, 'mood')} AS ENUM ('x')",
                f"CREATE DOMAIN {qualified(schema, 'short')} AS text",
                f"CREATE TYPE {qualified(schema, 'pair')} AS (a int, b {qualified(schema, 'mood')})",
                f"CREATE FUNCTION {qualified(schema, 'typed')}(a {qualified(schema, 'mood')}) RETURNS int LANGUAGE sql"
                " AS 'SELECT 1'",
            )


def objects(rng: random.Random, schema: str) -> tuple[str, str, t.Sequence[str]]:
    """Return a random object of a schema: kind, SQL, privileges."""
    kind = rng.choice(("TABLE", "TABLE", "TABLE", "SEQUENCE", "ROUTINE", "TYPE", "SCHEMA"))
    if kind == "TABLE":
        return kind, qualified(schema, rng.choice((*TABLES, "v"))), TABLE_PRIVILEGES
    if kind == "SEQUENCE":
        return kind, qualified(schema, rng.choice(("counter", "t1_id_seq"))), ("SELECT", "UPDATE", "USAGE")
    if kind == "ROUTINE":
        name = rng.choice(("f()", "f(int, text[])", "p(int)", "total(int)"))
        return kind, f"{identifier(schema)}.{name}", ("EXECUTE",)
    if kind == "TYPE":
        return kind, qualified(schema, rng.choice(("mood", "short", "pair"))), ("USAGE",)
    return kind, identifier(schema), ("CREATE", "USAGE")


def disturb(server: Server, rng: random.Random) -> None:
    """Do what nobody planned: grants, passed on and not, by whoever may; owners; memberships; default privileges."""
    everybody = [identifier(role) for role in (*ROLES, *STRANGERS)]
    for _number in range(rng.randint(20, 60)):
        who = rng.choice(everybody)
        to = rng.choice([*everybody, "PUBLIC"])
        kind, sql, known = objects(rng, rng.choice(SCHEMAS))
        privileges = ", ".join(rng.sample(known, rng.randint(1, len(known))))
        option = " WITH GRANT OPTION" if to != "PUBLIC" and rng.random() < 0.4 else ""
        if kind == "TABLE" and rng.random() < 0.3:
            privileges, sql = "SELECT (a), UPDATE (a)", sql.replace(".v", ".t1")
        statement = rng.choice(
            (
                f"GRANT {privileges} ON {kind} {sql} TO {to}{option}",
                f"GRANT {privileges} ON {kind} {sql} TO {to}{option}",
                f"GRANT {privileges} ON {kind} {sql} TO {to}{option}",
                f"REVOKE {privileges} ON {kind} {sql} FROM {to} CASCADE",
                f"ALTER {kind} {sql} OWNER TO {who}",
                f"GRANT {to} TO {who} WITH ADMIN OPTION" if rng.random() < 0.3 else f"GRANT {to} TO {who}",
                f"ALTER DEFAULT PRIVILEGES FOR ROLE {who} GRANT SELECT ON TABLES TO {to}{option}",
                f"ALTER DEFAULT PRIVILEGES FOR ROLE {who} IN SCHEMA one GRANT ALL ON SEQUENCES TO {to}",
                f"ALTER DEFAULT PRIVILEGES FOR ROLE {who} REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
                f"GRANT TEMPORARY ON DATABASE {DATABASE} TO {to}{option}",
                f"ALTER DATABASE {DATABASE} OWNER TO {who}",
                f"ALTER ROLE {who} {rng.choice(('CREATEDB', 'NOINHERIT', 'CONNECTION LIMIT 3', 'BYPASSRLS', 'LOGIN'))}",
            )
        )
        asked_by = rng.choice(everybody)
        # Refusals of the server are part of the chaos.
        with contextlib.suppress(Refused):
            if rng.random() < 0.5 and statement.startswith("GRANT"):
                run(server, f"GRANT USAGE ON SCHEMA one, {identifier('Two')}, outside TO {asked_by}")
                run(server, f"SET ROLE {asked_by}")
            run(server, statement)
        run(server, "RESET ROLE")


def grants(rng: random.Random, known: t.Sequence[str], columns: bool = False) -> list[dict[str, t.Any]]:
    found = []
    for _number in range(rng.randint(0, 3)):
        roles = rng.sample([*ROLES, "PUBLIC"], rng.randint(1, 3))
        entry: dict[str, t.Any] = {"roles": roles, "privileges": rng.sample(known, rng.randint(1, len(known)))}
        if columns and rng.random() < 0.4:
            entry |= {"columns": rng.sample(["a", "B b", "id"], rng.randint(1, 2))}
            entry["privileges"] = rng.sample(("SELECT", "INSERT", "UPDATE", "REFERENCES"), 2)
        found.append(entry)
    return found


def random_wish(rng: random.Random) -> dict[str, t.Any]:
    """Return a wish that this cluster can have."""
    order = rng.sample(ROLES, len(ROLES))
    roles = [
        {
            "name": role,
            "inherit": rng.random() < 0.8,
            "createdb": rng.random() < 0.2,
            # Only roles that come later, so that nobody is a member of itself.
            "member_of": rng.sample(order[index + 1 :], min(rng.randint(0, 2), len(order) - index - 1)),
            **({"password": f"pw {seed_word(rng)}"} if rng.random() < 0.2 else {}),
        }
        for index, role in enumerate(order)
        if rng.random() < 0.8
    ]
    schemas = []
    for name in rng.sample(SCHEMAS[:2], rng.randint(1, 2)):
        schema: dict[str, t.Any] = {"name": name, "grants": grants(rng, ("CREATE", "USAGE"))}
        if rng.random() < 0.5:
            schema |= {"objects_owner": rng.choice(ROLES)}
        if rng.random() < 0.5:
            schema |= {"owner": rng.choice(ROLES)}
        schema["tables"] = [
            {
                "names": rng.choice((["*"], ["t?"], ["t1", "T 3"], ["t[4]"], ["*[*"])),
                "grants": grants(rng, TABLE_PRIVILEGES, True),
            }
            for _number in range(rng.randint(0, 3))
        ]
        schema["sequences"] = [
            {"names": ["*"], "except": ["counter"], "grants": grants(rng, ("SELECT", "UPDATE", "USAGE"))}
        ]
        if rng.random() < 0.5:
            schema["functions"] = [{"names": [rng.choice("fp*")], "grants": grants(rng, ("EXECUTE",))}]
        if rng.random() < 0.5:
            schema["types"] = [{"names": ["*"], "grants": grants(rng, ("USAGE",))}]
        schemas.append(schema)
    defaults = [
        {"creator": ROLES[0], "objects": "tables", "grants": grants(rng, TABLE_PRIVILEGES)},
        {"creator": ROLES[1], "objects": "functions", "grants": grants(rng, ("EXECUTE",))},
        {"creator": ROLES[0], "schema": "one", "objects": "sequences", "grants": grants(rng, ("USAGE", "SELECT"))},
    ]
    database: dict[str, t.Any] = {
        "name": DATABASE,
        "grants": grants(rng, ("CONNECT", "TEMPORARY", "CREATE")),
        "schemas": schemas,
        "default_privileges": rng.sample(defaults, rng.randint(0, 3)),
    }
    if rng.random() < 0.3:
        database["owner"] = rng.choice(ROLES)
    return {"roles": roles, "databases": [database]}


def seed_word(rng: random.Random) -> str:
    return "".join(rng.choice("abcäß'\\$ ") for _number in range(8))


STATE = """
SELECT concat_ws('#',
  (SELECT string_agg(concat_ws('|', oid, relowner, relacl), ' ' ORDER BY oid) FROM pg_class WHERE oid >= 16384),
  (SELECT string_agg(concat_ws('|', attrelid, attnum, attacl), ' ' ORDER BY attrelid, attnum) FROM pg_attribute
   WHERE attacl IS NOT NULL),
  (SELECT string_agg(concat_ws('|', oid, nspowner, nspacl), ' ' ORDER BY oid) FROM pg_namespace),
  (SELECT string_agg(concat_ws('|', oid, proowner, proacl), ' ' ORDER BY oid) FROM pg_proc WHERE oid >= 16384),
  (SELECT string_agg(concat_ws('|', oid, typowner, typacl), ' ' ORDER BY oid) FROM pg_type WHERE oid >= 16384),
  (SELECT string_agg(concat_ws('|', oid, defaclacl), ' ' ORDER BY oid) FROM pg_default_acl),
  (SELECT string_agg(m::text, ' ' ORDER BY roleid, member, grantor) FROM pg_auth_members m),
  (SELECT string_agg(a::text, ' ' ORDER BY oid) FROM pg_authid a),
  (SELECT string_agg(concat_ws('|', oid, datdba, datacl), ' ' ORDER BY oid) FROM pg_database))
"""


def state(server: Server) -> str:
    """Return everything that privileges hang on, as one text."""
    return str(server.value(STATE))


def table_oracle(server: Server, wish: t.Mapping[str, t.Any]) -> list[str]:
    """Compare the tables with the wish in another way than the package does: by brute force, from the raw ACLs."""
    wrong = []
    for schema in wish["databases"][0]["schemas"]:
        for table in (*TABLES, "v"):
            columns = {"a"} if table == "v" else {"id", "a", "B b"}
            expected = {
                (role if role != "PUBLIC" else "", privilege, column)
                for rule in schema["tables"]
                if any(fnmatch.fnmatchcase(table, name.replace("[", "[[]")) for name in rule["names"])
                for grant in rule["grants"]
                for role in grant["roles"]
                for privilege in grant["privileges"]
                for column in grant.get("columns", [""])
                if column in {*columns, ""}
            }
            found = {
                tuple(row)
                for row in server.rows(
                    "SELECT coalesce(rolname, ''), privilege_type, name FROM (SELECT relowner, '' AS name, relacl AS"
                    " acl FROM pg_class WHERE oid = %s::regclass"
                    " UNION ALL SELECT relowner, attname, attacl FROM pg_class c"
                    " JOIN pg_attribute ON attrelid = c.oid WHERE c.oid = %s::regclass) AS held,"
                    " LATERAL aclexplode(acl) x LEFT JOIN pg_roles r ON r.oid = grantee WHERE grantee <> relowner",
                    [qualified(schema["name"], table)] * 2,
                )
            }
            owner_of = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = %s::regclass"
            owner = server.value(owner_of, [qualified(schema["name"], table)])
            if found != {entry for entry in expected if entry[0] != owner}:
                wrong.append(f"{schema['name']}.{table}: {sorted(found ^ expected)}")
    return wrong


def case(seed: int) -> dict[str, t.Any]:
    rng = random.Random(seed)
    with Server(PLACE, DATABASE) as server:
        disturb(server, rng)
        arguments = random_wish(rng)
        wish = model.parse(arguments)
        before = state(server)
        result: dict[str, t.Any] = {"seed": seed, "problem": ""}
        try:
            planned = change.converge(PLACE, wish, check_mode=True)
            if state(server) != before:
                return {**result, "problem": "check mode changed something"}
            done = change.converge(PLACE, wish)
        except Refused as error:
            if state(server) != before:
                return {**result, "problem": f"half applied: {error}"}
            return {**result, "refused": str(error)}
        result["statements"] = len(done.statements)

        def masked(outcome: change.Outcome) -> list[str]:
            return [statement.shown for statement in outcome.statements]

        if masked(planned) != masked(done):
            result["problem"] = "check mode said something else than was done"
        again = change.converge(PLACE, wish)
        if again.statements:
            result["problem"] = f"the second run would change: {again.statements[0].shown}"
        result["problem"] = result["problem"] or "; ".join(table_oracle(server, arguments))
        return result


def scale(count: int, people: int) -> dict[str, t.Any]:
    """Return what it costs to look at many objects on which many roles have privileges."""
    names = [f"scale_{number}" for number in range(people)]
    with Server(PLACE) as server:
        run(server, "DROP DATABASE IF EXISTS scale WITH (FORCE)")
        for name in names:
            run(server, f"DROP ROLE IF EXISTS {name}", f"CREATE ROLE {name}")
        run(server, "CREATE DATABASE scale")
    with Server(PLACE, "scale") as server:
        run(
            server,
            "CREATE SCHEMA s",
            f"DO $$ BEGIN FOR n IN 1..{count} LOOP EXECUTE format('CREATE TABLE s.t%s (a int, b int)', n);"
            " IF n % 100 = 0 THEN COMMIT; END IF; END LOOP; END $$",
        )
    wish = model.parse(
        {
            "roles": [{"name": name} for name in names],
            "databases": [
                {
                    "name": "scale",
                    "schemas": [
                        {
                            "name": "s",
                            "tables": [
                                {
                                    "names": ["*"],
                                    "grants": [{"roles": names, "privileges": ["SELECT", "INSERT", "UPDATE"]}],
                                }
                            ],
                        }
                    ],
                }
            ],
        }
    )
    started = time.monotonic()
    statements = len(change.converge(PLACE, wish).statements)
    first = time.monotonic() - started
    started = time.monotonic()
    with change.look(PLACE, wish, 5) as found:
        left = len(found.plan())
        trips = found.round_trips
    second = time.monotonic() - started
    return {
        "objects": count, "roles": people, "statements": statements, "left": left, "round_trips": trips,
        "first_seconds": round(first, 2), "converged_seconds": round(second, 2),
    }  # fmt: skip


def main() -> None:
    kind, first, second = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if kind == "scale":
        print(json.dumps(scale(first, second)), flush=True)
        return
    build()
    for seed in range(first, first + second):
        # Every tenth case begins anew; the others begin with what the one before has left.
        if seed % 10 == 0:
            build()
        print(json.dumps(case(seed)), flush=True)


if __name__ == "__main__":
    main()
