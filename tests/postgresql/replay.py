# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host with a cluster, its order as JSON in place of ORDER: each statement in a session of its own.

A session is a real one, over TCP and with a password. Prints what went otherwise than expected, as JSON.
"""

from __future__ import annotations

import json
import os
import pwd
import typing as t

import psycopg2  # type: ignore[import-untyped]

ORDER: dict[str, t.Any] = {}

# Everything that an attempt could be after, but the value of the sequence, which a refused insert may take.
FINGERPRINT = """
SELECT md5(concat_ws('#',
  (SELECT string_agg(e::text, '|' ORDER BY e::text) FROM {table} e),
  (SELECT concat_ws('|', relname, relowner, relacl, relhasrules, relhastriggers, relrowsecurity, relpersistence)
   FROM pg_class WHERE oid = '{table}'::regclass),
  (SELECT string_agg(concat_ws('|', attname, atttypid, attacl), '|' ORDER BY attnum) FROM pg_attribute
   WHERE attrelid = '{table}'::regclass),
  (SELECT string_agg(concat_ws('|', tgname, tgenabled), '|' ORDER BY oid) FROM pg_trigger),
  (SELECT string_agg(ev_class::text, '|' ORDER BY oid) FROM pg_rewrite),
  (SELECT string_agg(concat_ws('|', rolname, rolsuper, rolcreaterole, rolbypassrls, rolcanlogin, rolpassword), '|'
   ORDER BY oid) FROM pg_authid),
  (SELECT string_agg(concat_ws('|', roleid, member), '|' ORDER BY roleid, member) FROM pg_auth_members),
  (SELECT string_agg(concat_ws('|', nspname, nspowner, nspacl), '|' ORDER BY oid) FROM pg_namespace
   WHERE nspname !~ '^pg_(toast_)?temp'),
  (SELECT string_agg(concat_ws('|', defaclrole, defaclacl), '|' ORDER BY oid) FROM pg_default_acl),
  (SELECT string_agg(concat_ws('|', proname, proowner, prosecdef, md5(prosrc)), '|' ORDER BY oid) FROM pg_proc),
  (SELECT count(*) FROM pg_cast), (SELECT count(*) FROM pg_event_trigger), (SELECT count(*) FROM pg_seclabel),
  (SELECT string_agg(concat_ws('|', datname, datdba, datacl), '|' ORDER BY oid) FROM pg_database)))
"""


def superuser(database: str) -> t.Any:
    """Return a session by peer authentication."""
    os.seteuid(pwd.getpwnam("postgres").pw_uid)
    try:
        connection = psycopg2.connect(host="/var/run/postgresql", dbname=database, user="postgres")
    finally:
        os.seteuid(0)
    connection.autocommit = True
    return connection


def attempt(database: str, login: str, password: str, statement: str) -> tuple[str, str]:
    """Run a statement in a new session, and return SQLSTATE and message; empty if nothing was wrong."""
    try:
        session = psycopg2.connect(host="127.0.0.1", dbname=database, user=login, password=password)
    except psycopg2.Error as error:
        return "no session", str(error)
    session.autocommit = True
    try:
        with session.cursor() as cursor:
            cursor.execute(statement)
    except psycopg2.Error as error:
        return error.pgcode or "lost", str(error).splitlines()[0]
    finally:
        session.close()
    return "", ""


# No privilege, not the owner, not a member: what refuses an attempt. Anything else is a mistake in the table.
REFUSALS = ("42501",)


def main() -> None:
    watcher = superuser(ORDER["database"]).cursor()

    def fingerprint() -> str:
        watcher.execute(FINGERPRINT.format(table=ORDER["audit_table"]))
        return str(watcher.fetchone()[0])

    wrong = []
    before = fingerprint()
    for role, statement, expected in ORDER["cases"]:
        login, password = ORDER["logins"][role]
        code, message = attempt(ORDER["database"], login, password, statement)
        good = {"works": not code, "refused": code in REFUSALS, "quiet": not code or code in REFUSALS}[expected]
        if not good:
            wrong.append([login, statement, f"expected: {expected}", code, message])
        after = fingerprint()
        if expected != "works" and after != before:
            wrong.append([login, statement, "the audit trail or who may do what is no longer as it was"])
        before = after
    print(json.dumps(wrong))


main()
