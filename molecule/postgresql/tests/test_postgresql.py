# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL seen from the host of a service, from an administrator's, and from a stranger's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.postgresql.seen_from_outside import LOGINS, OUTSIDE, WRONG, Database


@pytest.mark.parametrize("role", LOGINS)
def test_who_may_log_in_does_so_from_his_host_by_tls_and_password(database: Database, role: str) -> None:
    home = LOGINS[role][2]
    sql = "SELECT current_user, ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    done = database.run(home, role, sql)
    assert done.rc == 0, done.stderr
    assert done.stdout.strip() in {f"{role}|t|TLSv1.3", f"{role}|t|TLSv1.2"}


@pytest.mark.parametrize("role", LOGINS)
def test_nobody_gets_in_with_another_password_without_one_or_without_tls(database: Database, role: str) -> None:
    home = LOGINS[role][2]
    database.refused(home, role, "password authentication failed", password=WRONG)
    database.refused(home, role, "no password supplied", password="")
    database.refused(home, role, "no encryption", sslmode="disable")


@pytest.mark.parametrize("role", LOGINS)
def test_nobody_gets_in_from_another_host_or_into_another_database(database: Database, role: str) -> None:
    _password, usual, home = LOGINS[role]
    for source in set(OUTSIDE) - {home}:
        database.refused(source, role, "no pg_hba.conf entry")
    for other in {"jitsudo", "inventory", "postgres", "template1"} - {usual}:
        database.refused(home, role, "no pg_hba.conf entry", database=other)


@pytest.mark.parametrize("source", OUTSIDE)
def test_no_superuser_gets_in_from_elsewhere(database: Database, source: str) -> None:
    for name in ("postgres", "jitsudo", "template1"):
        database.refused(source, "postgres", "pg_hba.conf rejects connection", database=name)


@pytest.mark.parametrize("source", OUTSIDE)
def test_replication_is_for_nobody_here(database: Database, source: str) -> None:
    done = database.run(source, "jitsudo_app", "IDENTIFY_SYSTEM", replication="true")
    assert done.rc != 0
    assert "no pg_hba.conf entry" in done.stderr


def test_a_server_with_a_certificate_of_another_ca_would_not_be_believed(database: Database) -> None:
    database.refused("client", "jitsudo_app", "certificate verify failed", sslrootcert="/root/unknown.pem")
    database.refused(
        "client",
        "jitsudo_app",
        "does not match host name",
        host="database",
        hostaddr=database.scenario.address(database.server),
    )


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1.1"])
def test_old_tls_is_refused(database: Database, version: str) -> None:
    """The client's own OpenSSL would not offer it, so its limit is lifted for this."""
    address = database.scenario.address(database.server)
    old = version.lower().replace("tlsv", "tls").replace(".", "_").replace("tls1_", "tls1_")
    said = database.scenario.host("client").run(
        f"openssl s_client -starttls postgres -connect {address}:5432 -{old} -cipher DEFAULT@SECLEVEL=0 </dev/null 2>&1"
    )
    assert said.rc != 0
    assert "protocol version" in said.stdout or "handshake failure" in said.stdout


def test_a_password_that_is_stored_as_md5_lets_nobody_in(database: Database) -> None:
    database.on_host("DROP ROLE IF EXISTS old_fashioned")
    database.on_host(f"CREATE ROLE old_fashioned LOGIN PASSWORD 'md5{'0' * 32}'")
    database.refused("client", "old_fashioned", "password authentication failed", database="inventory")
    database.on_host("DROP ROLE old_fashioned")


POOLED = {"port": "6432", "database": "inventory"}


def test_who_comes_by_pgbouncer_is_seen_as_himself(database: Database) -> None:
    done = database.run("client", "inventory_app", "SELECT current_user", **POOLED)
    assert (done.rc, done.stdout.strip()) == (0, "inventory_app"), done.stderr


def test_pgbouncer_refuses_plaintext_wrong_passwords_and_whom_it_does_not_know(database: Database) -> None:
    database.refused("client", "inventory_app", "SSL required", sslmode="disable", **POOLED)
    database.refused("client", "inventory_app", "certificate verify failed", sslrootcert="/root/unknown.pem", **POOLED)
    database.refused("client", "inventory_app", "FATAL", password=WRONG, **POOLED)
    for role in ("postgres", "jitsudo_app", "inventory_owner"):
        database.refused("client", role, "FATAL", **POOLED)
    database.refused("client", "inventory_app", "no such database", port="6432", database="jitsudo")
    database.refused("client", "inventory_app", "FATAL", sql="SHOW CONFIG", port="6432", database="pgbouncer")


INSERT = (
    'INSERT INTO audit_events ("timestamp", actor_identity, action, request_id, provider, resource_scope, outcome,'
    " details_json, prev_hash, hash) VALUES (now(), 'a', 'request.created', 'r', 'aws', '', 'ok', '{}', 'h0', 'h1')"
)
DOES = {
    "jitsudo_app": ["SELECT count(*) FROM elevation_requests", "SELECT count(*) FROM audit_events", INSERT],
    "jitsudo_owner": ["CREATE TABLE scratch (a int)", "DROP TABLE scratch"],
    "jitsudo_auditor": ["SELECT count(*) FROM audit_events", "SELECT state FROM elevation_requests"],
    "backup": ["SELECT count(*) FROM elevation_requests", "COPY audit_events TO STDOUT"],
    "responder": ["SELECT count(*) FROM pg_stat_activity"],
    "inventory_app": ["SELECT current_database()"],
}
DOES_NOT = {
    "jitsudo_app": [
        "UPDATE audit_events SET actor_identity = 'x'",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events",
        "CREATE TABLE mine (a int)",
        "INSERT INTO policies (name) VALUES ('mine')",
        "SET ROLE jitsudo_owner",
        "CREATE TEMPORARY TABLE audit_events (a int)",
    ],
    "jitsudo_owner": [
        "UPDATE audit_events SET actor_identity = 'x'",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events",
    ],
    "jitsudo_auditor": [INSERT, "DELETE FROM audit_events", "SELECT credentials_json FROM elevation_requests"],
    "backup": [INSERT, "DELETE FROM audit_events", "CREATE TABLE mine (a int)"],
    "responder": ["CREATE TABLE mine (a int)", "CREATE DATABASE mine", "SET ROLE postgres"],
    "inventory_app": ["CREATE TABLE mine (a int)", "SET ROLE inventory_owner"],
}


@pytest.mark.parametrize("role", DOES)
def test_each_does_what_it_should(database: Database, role: str) -> None:
    for sql in DOES[role]:
        done = database.run(LOGINS[role][2], role, sql)
        assert done.rc == 0, (sql, done.stderr)


@pytest.mark.parametrize("role", DOES_NOT)
def test_and_nothing_else(database: Database, role: str) -> None:
    for sql in DOES_NOT[role]:
        done = database.run(LOGINS[role][2], role, sql)
        assert done.rc != 0, sql
        # Something in the way, such as a guard of the log, or want of a privilege; but no slip of the statement.
        assert "permission denied" in done.stderr or "append-only" in done.stderr, done.stderr


def test_each_change_is_recorded(database: Database) -> None:
    database.on_host("DELETE FROM elevation_requests WHERE id = 'seen'", "jitsudo")
    insert = (
        "INSERT INTO elevation_requests (id, requester_identity, provider, role, duration_seconds)"
        " VALUES ('seen', 'a@example.org', 'aws', 'admin', 60)"
    )
    assert database.run("client", "jitsudo_app", insert).rc == 0
    seen = database.on_host(
        "SELECT operation, login, host(client_address) FROM bulwark_audit.transition WHERE key = 'seen'"
        " ORDER BY id DESC LIMIT 1",
        "jitsudo",
    )
    assert seen == f"INSERT|jitsudo_app|{database.scenario.address('client')}"


def test_the_queries_of_the_guide_find_a_transition_without_a_row_of_the_product(database: Database) -> None:
    guide = (Path(__file__).resolve().parents[3] / "docs/postgresql.md").read_text("utf-8")
    history, unaccounted = re.findall(r"```sql\n(.*?);\n```", guide, re.DOTALL)
    database.on_host("DELETE FROM elevation_requests WHERE id = 'unaccounted'", "jitsudo")
    insert = (
        "INSERT INTO elevation_requests (id, requester_identity, provider, role, duration_seconds)"
        " VALUES ('unaccounted', 'a@example.org', 'aws', 'admin', 60)"
    )
    assert database.run("client", "jitsudo_app", insert).rc == 0
    assert all("|unaccounted|" in database.on_host(query, "jitsudo") for query in (history, unaccounted))
    assert database.run("client", "jitsudo_app", INSERT.replace("'r'", "'unaccounted'")).rc == 0
    assert "|unaccounted|" not in database.on_host(unaccounted, "jitsudo")


def test_the_server_listens_where_it_is_told_to(database: Database) -> None:
    listening = database.on_host(
        "SELECT string_agg(DISTINCT setting, '') FROM pg_settings WHERE name = 'listen_addresses'"
    )
    assert "*" not in listening
    assert database.scenario.tries("client", database.server, 5432, family=6) in {"refused", "closed"}
